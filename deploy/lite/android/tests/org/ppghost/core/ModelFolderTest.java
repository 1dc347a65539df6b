package org.ppghost.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.fail;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public final class ModelFolderTest {

    static final String ABI = "arm64-v8a";

    @Rule public final TemporaryFolder temporary = new TemporaryFolder();

    private File copy() throws Exception {
        File copy = temporary.newFolder();
        for (File file : new File(Golden.FOLDER, "model").listFiles()) {
            Files.copy(file.toPath(), new File(copy, file.getName()).toPath());
        }
        return copy;
    }

    private static String text(File file) throws Exception {
        return new String(Files.readAllBytes(file.toPath()), StandardCharsets.UTF_8);
    }

    private static void refused(String code, File folder) {
        try {
            ModelFolder.open(folder).checkFor(ABI);
            fail("no " + code);
        } catch (Problem problem) {
            assertEquals(problem.getMessage(), code, problem.code().name());
        }
    }

    @Test
    public void theManifestSaysWhatPythonWrote() throws Exception {
        ModelFolder model = ModelFolder.open(copy());
        model.checkFor(ABI);
        assertEquals("GhostNet_x0_5", model.spec.name);
        assertEquals(7, model.spec.classCount);
        assertEquals("\u5C71\u7F8A", model.labels().nameOf(6));
        assertEquals(7, model.goldenOutput().length);
        assertEquals(3 * 32 * 32, model.goldenInput().length);
        assertArrayEquals(new long[] {1, 3, 32, 32}, model.spec.inputShape);
        assertEquals("armv8.fp32", model.spec.variantsFor(ABI).get(0).form());
        assertNotNull(model.checkModel(model.spec.variantsFor(ABI).get(0), "v2.13-rc"));
        List<String> files = model.spec.filesFor(ABI);
        assertEquals("ppghost.json", files.get(0));
        assertEquals(5, files.size());
    }

    @Test
    public void filesThatAreMissingOrChangedAreNamed() throws Exception {
        File folder = copy();
        Files.write(new File(folder, "inference.armv8.fp32.nb").toPath(), new byte[0]);
        refused("NB_EMPTY", folder);
        Files.write(new File(folder, "inference.armv8.fp32.nb").toPath(), NbHeaderTest.model(2, "v2.13-rc", 60, 100));
        refused("NB_TRUNCATED", folder);
        Files.write(new File(folder, "inference.armv8.fp32.nb").toPath(), NbHeaderTest.model(2, "v2.13-rc", 60, 1000));
        refused("CHECKSUM", folder);
        Files.delete(new File(folder, "inference.armv8.fp32.nb").toPath());
        refused("MISSING_FILE", folder);
        File labels = new File(folder, "labels.txt");
        Files.write(labels.toPath(), "0 a\n1 b\n".getBytes(StandardCharsets.UTF_8));
        refused("LABEL_COUNT", folder);
        Files.delete(new File(folder, "ppghost.json").toPath());
        refused("NO_MANIFEST", folder);
    }

    @Test
    public void anotherVersionOfTheLibraryIsRefusedBeforeItSeesTheFile() throws Exception {
        ModelFolder model = ModelFolder.open(copy());
        try {
            model.checkModel(model.spec.variants.get(0), "v2.12");
            fail("v2.13-rc with v2.12");
        } catch (Problem problem) {
            assertEquals(Problem.Code.NB_VERSION, problem.code());
        }
    }

    @Test
    public void aPhoneOfAnotherKindIsToldWhatThereIs() throws Exception {
        try {
            ModelFolder.open(copy()).checkFor("riscv64");
            fail("a model for RISC-V");
        } catch (Problem problem) {
            assertEquals(Problem.Code.NO_MODEL_FOR_ABI, problem.code());
            assertEquals("riscv64", problem.words()[0]);
        }
    }

    @Test
    public void aManifestThatIsWrongSomewhereIsRefused() throws Exception {
        String good = text(new File(Golden.FOLDER, "model/ppghost.json"));
        for (Object each : Golden.list("bad_manifests")) {
            List<?> change = (List<?>) each;
            String old = (String) change.get(0);
            if (!good.contains(old)) {
                fail("the manifest has no " + old);
            }
            try {
                ModelSpec.read(good.replace(old, (String) change.get(1)));
                fail(change.toString());
            } catch (Problem problem) {
                assertEquals(change.toString(), Problem.Code.BAD_MANIFEST, problem.code());
            }
        }
    }

    @Test
    public void everyFieldIsNeeded() throws Exception {
        Object good = Json.read(text(new File(Golden.FOLDER, "model/ppghost.json")));
        for (Object name : ((Map<?, ?>) good).keySet().toArray()) {
            // Optional, or of no use here: how many classes are shown is a setting of the app.
            if (Arrays.asList("labels_sha256", "labels", "golden", "topk").contains(name)) {
                continue;
            }
            Map<?, ?> less = (Map<?, ?>) Json.read(Json.write(good));
            less.remove(name);
            try {
                ModelSpec.read(Json.write(less));
                fail("without " + name);
            } catch (Problem problem) {
                assertEquals(Problem.Code.BAD_MANIFEST, problem.code());
            }
        }
    }

    @Test
    public void anExportedFolderIsRead() throws Exception {
        // What "ppghost export --target lite" wrote, where Python had one at hand.
        File exported = new File(Golden.FOLDER, "exported");
        if (exported.isDirectory()) {
            ModelFolder.open(exported).checkFor(ABI);
        }
    }
}
