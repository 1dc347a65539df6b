package org.ppghost.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.junit.BeforeClass;
import org.junit.Test;

/**
 * The drawn parts of the screens: nothing leaves its sheet, nothing lies on something else, in both languages, in
 * every width and text size; and PNG files of them to look at.
 */
public final class SheetTest {

    private static final File DRAWINGS = new File(Golden.FOLDER, "drawings");
    private static final String[] LANGUAGES = {"values", "values-zh"};
    private static final String[] ENGLISH = {
        "French bulldog", "Boston bull, Boston terrier", "Staffordshire bullterrier, Staffordshire bull terrier",
        "American Staffordshire terrier, Staffordshire terrier, American pit bull terrier, pit bull terrier", "pug, pug-dog",
    };
    private static final String[] CHINESE = {
        "\u6CD5\u56FD\u6597\u725B\u72AC", "\u6CE2\u58EB\u987F\u6897",
        "\u65AF\u5854\u798F\u90E1\u6597\u725B\u6897\uFF0C\u65AF\u5854\u798F\u90E1\u6597\u725B\u72AC",
        "\u7F8E\u56FD\u65AF\u5854\u798F\u90E1\u6897\uFF0C\u7F8E\u56FD\u6BD4\u7279\u6597\u725B\u6897\uFF0C\u6BD4\u7279\u72AC",
        "\u54C8\u5DF4\u72D7",
    };

    @BeforeClass
    public static void makeFolder() {
        DRAWINGS.mkdirs();
    }

    private static Sheet result(String language) throws Exception {
        float[] scores = {0.8732f, 0.0921f, 0.0213f, 0.0004f, 0.00001f};
        String[] names = language.equals("values") ? ENGLISH : CHINESE;
        List<Scores.Answer> answers = new ArrayList<>();
        for (int i = 0; i < names.length; i++) {
            answers.add(new Scores.Answer(i, names[i], scores[i]));
        }
        Map<?, ?> golden = (Map<?, ?>) Golden.list("pictures").get(0);
        Picture picture =
                Golden.picture((String) golden.get("rgb"), Golden.whole(golden, "width"), Golden.whole(golden, "height"));
        Picture seen = new Preprocess(256, 224, 1, PreprocessTest.MEAN, PreprocessTest.STD, false).see(picture);
        long[] runs = {8660000, 8590000, 8710000, 8940000, 8630000, 8650000, 8680000, 8670000, 9120000, 8640000};
        ResultSheet.Times times = new ResultSheet.Times(41250000, 3170000, runs, 180000, 91648);
        return new ResultSheet(new XmlWords(language), seen, answers, times);
    }

    private static Sheet bench(String language) throws Exception {
        ModelFolder model = ModelFolder.open(new File(Golden.FOLDER, "model"));
        BenchSheet sheet = new BenchSheet(new XmlWords(language));
        String id = "GhostNet_x0_5/armv8.fp32";
        BenchRun run =
                new BenchRun(
                        BenchPlan.published(Collections.singletonList(id), 1, 3), new BenchTest.FakeRig(BenchRun.WARM));
        run.run();
        sheet.addModel(id, model.spec, model.spec.variants.get(0));
        for (BenchRun.Result each : run.results()) {
            sheet.addResult(each);
        }
        return sheet;
    }

    @Test
    public void nothingLeavesItsSheetOrLiesOnSomethingElse() throws Exception {
        for (String language : LANGUAGES) {
            for (Sheet sheet : Arrays.asList(result(language), bench(language))) {
                for (float width : new float[] {288, 328, 379, 480, 568, 700, 1000}) {
                    for (float scale : new float[] {0.85f, 1, 1.3f, 2}) {
                        Look look = Look.of(false, scale);
                        float height = sheet.measure(new CheckingPen(width, 0), look, width);
                        sheet.draw(new CheckingPen(width, height), look, width);
                    }
                }
            }
        }
    }

    @Test
    public void sentencesAreNeverCut() throws Exception {
        // Names of classes may be shortened; what the app itself says may not.
        for (String language : LANGUAGES) {
            for (Sheet sheet : Arrays.asList(result(language), bench(language))) {
                for (float width : new float[] {288, 328, 600}) {
                    CheckingPen pen = new CheckingPen(width, 5000);
                    sheet.draw(pen, Look.of(false, 1), width);
                    for (String text : pen.texts) {
                        boolean isWhole = !text.endsWith("\u2026");
                        String names = String.join(" ", language.equals("values") ? ENGLISH : CHINESE);
                        assertTrue(text, isWhole || names.contains(text.substring(0, text.length() - 1)));
                    }
                }
            }
        }
    }

    @Test
    public void theListenerHearsWhatIsShown() throws Exception {
        String heard = result("values").describe();
        assertTrue(heard, heard.startsWith("French bulldog 87.3\u00A0%. "));
        assertTrue(heard, heard.contains("8.67\u00A0ms"));
        assertTrue(bench("values").describe().contains("threads 1: 12.0"));
    }

    @Test
    public void almostCertainIsNotCertain() {
        assertEquals("99.9\u00A0%", ResultSheet.percent(0.99996f));
        assertEquals("100.0\u00A0%", ResultSheet.percent(1));
        assertEquals("0.0\u00A0%", ResultSheet.percent(0));
        assertEquals("<\u00A00.1\u00A0%", ResultSheet.percent(0.0004f));
        assertEquals("0.1\u00A0%", ResultSheet.percent(0.0005f));
    }

    @Test
    public void thePicturesToLookAtAreDrawn() throws Exception {
        if (!ImagePen.isPossible()) {
            System.out.println("SKIPPED drawings: this Java has no fonts; apt-get install fonts-dejavu-core fontconfig");
            return;
        }
        for (String language : LANGUAGES) {
            for (boolean isDark : new boolean[] {false, true}) {
                String end = "-" + (language.equals("values") ? "en" : "zh") + (isDark ? "-dark" : "") + ".png";
                draw(result(language), Look.of(isDark, 1), 328, "result" + end);
                draw(result(language), Look.of(isDark, 1), 640, "result-wide" + end);
                draw(bench(language), Look.of(isDark, 1), 328, "bench" + end);
            }
        }
    }

    private static void draw(Sheet sheet, Look look, float width, String name) throws Exception {
        float height = sheet.measure(new ImagePen(1, 1, 1, 0, look.ground), look, width);
        ImagePen pen = new ImagePen(width, height, 2, 16, look.ground);
        sheet.draw(pen, look, width);
        pen.write(new File(DRAWINGS, name));
        assertTrue(name, new File(DRAWINGS, name).length() > 1000);
    }
}
