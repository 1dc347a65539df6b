package org.ppghost.demo;

import android.content.pm.PackageManager;
import android.util.Log;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TimeZone;
import org.ppghost.core.BenchPlan;
import org.ppghost.core.BenchRun;
import org.ppghost.core.BenchSheet;
import org.ppghost.core.Bytes;
import org.ppghost.core.Json;
import org.ppghost.core.Problem;

/** Runs the benchmark on the app's worker, writes its report, and goes on when the screen is turned. */
final class Benchmark implements BenchRun.Rig {

    private static final String TAG = "ppghost";
    private static final long STEP_MS = 100;

    private final DemoApp app;
    private final ResourceWords words;
    private List<ModelStore.Choice> models = new ArrayList<>();
    private Listener listener;
    private String message;
    private BenchSheet sheet;
    private File report;
    private boolean isRunning;
    private volatile boolean isStopped;
    private volatile Problem lastProblem;
    private String engineVersion;

    /** Is told on the main thread that something changed. */
    interface Listener {
        void changed();
    }

    Benchmark(DemoApp app) {
        this.app = app;
        words = new ResourceWords(app);
    }

    void listen(Listener heard) {
        listener = heard;
    }

    boolean isRunning() {
        return isRunning;
    }

    /** Returns what is happening or has happened; null before the first run. */
    String message() {
        return message;
    }

    /** Returns the table: published figures, and ours when there are any. */
    BenchSheet sheet() {
        return sheet == null ? new BenchSheet(words) : sheet;
    }

    /** Returns the written report; null when there is none. */
    File report() {
        return report;
    }

    void stop() {
        isStopped = true;
    }

    /**
     * Starts a run; from the main thread.
     *
     * @param wanted ids or names of models; null means all
     */
    void start(final List<String> wanted, final int rounds, final long seed) {
        isRunning = true;
        isStopped = false;
        report = null;
        message = words.get("preparing");
        tell();
        app.work(
                new Runnable() {
                    @Override
                    public void run() {
                        work(wanted, rounds, seed);
                    }
                });
    }

    @Override
    public void begins(BenchPlan.Cell cell, int done, int count) {
        say(words.get("bench_running", done + 1, count, cell.model, cell.threads), null);
    }

    @Override
    public BenchRun.State state() {
        return Phone.state(app);
    }

    @Override
    public BenchRun.Measured measure(BenchPlan.Cell cell, BenchPlan plan) throws Problem {
        ModelStore.Choice choice = choiceOf(cell.model);
        try {
            Classification.load(app, choice, cell.threads, BenchPlan.POWER_MODE);
            engineVersion = app.engine().version();
            Boolean isGolden = Classification.checkGolden(app, choice);
            float[] golden = choice.model.goldenInput();
            int side = choice.model.spec.preprocess.crop;
            float[] input = golden == null ? new float[3 * side * side] : golden;
            return new BenchRun.Measured(app.engine().run(input, plan.warmUp, plan.repeats).times, isGolden);
        } catch (Problem problem) {
            lastProblem = problem;
            throw problem;
        }
    }

    @Override
    public void pause(double seconds) {
        for (long left = (long) (seconds * 1000); left > 0 && !isStopped; left -= STEP_MS) {
            try {
                Thread.sleep(STEP_MS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                isStopped = true;
            }
        }
    }

    @Override
    public boolean isStopped() {
        return isStopped;
    }

    private void work(List<String> wanted, int rounds, long seed) {
        String created = stamp("yyyy-MM-dd'T'HH:mm:ss'Z'");
        lastProblem = null;
        models = chosen(wanted);
        List<String> ids = new ArrayList<>();
        for (ModelStore.Choice choice : models) {
            ids.add(choice.id);
        }
        if (ids.isEmpty()) {
            lastProblem = new Problem(Problem.Code.NO_MODEL);
        }
        BenchRun run = new BenchRun(BenchPlan.published(ids, rounds, seed), this);
        run.run();
        app.engine().quit();
        if (run.results().isEmpty()) {
            Log.w(TAG, "nothing was measured", lastProblem);
            say(words.get("bench_nothing", lastProblem == null ? "" : words.of(lastProblem)), null);
            finish();
            return;
        }
        try {
            String text = Json.write(run.toJson(created, program(), Phone.describe(), engineVersion, modelFacts()));
            File file = write(text);
            Log.i(TAG, "benchmark written to " + file);
            finished(run, file);
        } catch (IOException e) {
            say(words.of(new Problem(Problem.Code.IO, String.valueOf(e.getMessage()))), table(run));
            finish();
        }
    }

    private void finished(BenchRun run, final File file) {
        say(words.get("bench_done", run.results().size(), run.skippedCount(), file), table(run));
        app.show(
                new Runnable() {
                    @Override
                    public void run() {
                        report = file;
                    }
                });
        finish();
    }

    private BenchSheet table(BenchRun run) {
        BenchSheet table = new BenchSheet(words);
        for (ModelStore.Choice choice : models) {
            table.addModel(choice.id, choice.model.spec, choice.variant);
        }
        for (BenchRun.Result result : run.results()) {
            table.addResult(result);
        }
        return table;
    }

    private List<Map<String, Object>> modelFacts() {
        List<Map<String, Object>> facts = new ArrayList<>();
        for (ModelStore.Choice choice : models) {
            facts.add(BenchRun.modelJson(choice.id, choice.model.spec, choice.variant));
        }
        return facts;
    }

    private List<ModelStore.Choice> chosen(List<String> wanted) {
        List<ModelStore.Choice> found = new ArrayList<>();
        for (ModelStore.Choice choice : app.models().choices()) {
            if (wanted == null || wanted.contains(choice.id) || wanted.contains(choice.model.spec.name)) {
                found.add(choice);
            }
        }
        return found;
    }

    private ModelStore.Choice choiceOf(String id) {
        for (ModelStore.Choice choice : models) {
            if (choice.id.equals(id)) {
                return choice;
            }
        }
        throw new IllegalArgumentException(id);
    }

    private Map<String, Object> program() {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("name", "ppghost-android");
        map.put("version", version());
        return map;
    }

    /** Returns the version of the app. */
    String version() {
        try {
            return app.getPackageManager().getPackageInfo(app.getPackageName(), 0).versionName;
        } catch (PackageManager.NameNotFoundException e) {
            throw new IllegalStateException("the app is installed", e);
        }
    }

    /** Writes the report where "adb pull" finds it, and a copy where it can be shared from. */
    private File write(String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        File outside = app.getExternalFilesDir("benchmarks");
        File folder = outside == null ? new File(app.getFilesDir(), "benchmarks") : outside;
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new IOException(folder.getPath());
        }
        File file = new File(folder, "ppghost-" + stamp("yyyyMMdd-HHmmss") + ".json");
        try (OutputStream out = new FileOutputStream(file)) {
            out.write(bytes);
        }
        try (InputStream in = new FileInputStream(file);
                OutputStream out = new FileOutputStream(SharedFiles.report(app))) {
            Bytes.copy(in, out, Long.MAX_VALUE);
        }
        return file;
    }

    private static String stamp(String pattern) {
        SimpleDateFormat format = new SimpleDateFormat(pattern, Locale.ROOT);
        format.setTimeZone(TimeZone.getTimeZone("UTC"));
        return format.format(new Date());
    }

    /** Shows a message, and another table if there is one; from the worker. */
    private void say(final String text, final BenchSheet table) {
        app.show(
                new Runnable() {
                    @Override
                    public void run() {
                        message = text;
                        sheet = table == null ? sheet : table;
                        tell();
                    }
                });
    }

    private void finish() {
        app.show(
                new Runnable() {
                    @Override
                    public void run() {
                        isRunning = false;
                        tell();
                    }
                });
    }

    private void tell() {
        if (listener != null) {
            listener.changed();
        }
    }
}
