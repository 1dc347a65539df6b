package org.ppghost.demo;

import android.net.Uri;
import java.io.File;
import java.util.List;
import org.ppghost.core.Abi;
import org.ppghost.core.Labels;
import org.ppghost.core.ModelSpec;
import org.ppghost.core.Picture;
import org.ppghost.core.Problem;
import org.ppghost.core.ResultSheet;
import org.ppghost.core.Scores;
import org.ppghost.engine.EngineClient;

/** Classifies one picture after the other and keeps the last result, so that turning the phone loses nothing. */
final class Classification {

    private final DemoApp app;
    private Listener listener;
    private int waiting;
    private ResultSheet sheet;
    private Problem problem;
    private String loaded;

    /** Is told on the main thread that something changed. */
    interface Listener {
        void changed();
    }

    Classification(DemoApp app) {
        this.app = app;
    }

    void listen(Listener heard) {
        listener = heard;
    }

    boolean isWorking() {
        return waiting > 0;
    }

    /** Returns the last result; null when there is none or it failed. */
    ResultSheet sheet() {
        return sheet;
    }

    /** Returns why there is no result; null when there is one. */
    Problem problem() {
        return problem;
    }

    /** Shows a problem in place of a result. */
    void fail(Problem shown) {
        sheet = null;
        problem = shown;
        tell();
    }

    /** Classifies a picture with the chosen model; from the main thread. */
    void start(final Uri uri) {
        waiting++;
        tell();
        app.work(
                new Runnable() {
                    @Override
                    public void run() {
                        work(uri);
                    }
                });
    }

    private void work(Uri uri) {
        ResultSheet done = null;
        Problem failed = null;
        try {
            done = classify(uri);
        } catch (Problem e) {
            failed = e;
        } catch (OutOfMemoryError e) {
            failed = new Problem(Problem.Code.NO_MEMORY);
        }
        final ResultSheet shown = done;
        final Problem told = failed;
        app.show(
                new Runnable() {
                    @Override
                    public void run() {
                        waiting--;
                        sheet = shown;
                        problem = told;
                        tell();
                    }
                });
    }

    private ResultSheet classify(Uri uri) throws Problem {
        ModelStore.Choice choice = app.models().chosen();
        if (choice == null) {
            throw new Problem(Problem.Code.NO_MODEL);
        }
        ModelSpec spec = choice.model.spec;
        Labels labels = choice.model.labels();
        load(choice);
        long start = System.nanoTime();
        Picture picture = Pictures.decode(app, uri, spec.preprocess.resizeShort);
        long decoded = System.nanoTime();
        Picture seen = spec.preprocess.see(picture);
        float[] tensor = spec.preprocess.normalise(seen);
        long prepared = System.nanoTime();
        EngineClient.Outcome outcome = app.engine().run(tensor, app.settings().warmUp(), app.settings().repeats());
        long answered = System.nanoTime();
        List<Scores.Answer> answers = Scores.top(outcome.output, spec.hasSoftmax, app.settings().topK(), labels);
        long done = System.nanoTime();
        ResultSheet.Times times =
                new ResultSheet.Times(
                        decoded - start, prepared - decoded, outcome.times, done - answered, outcome.memoryKb);
        return new ResultSheet(new ResourceWords(app), seen, answers, times);
    }

    /** Loads a model unless the engine has it with the same settings already. */
    private void load(ModelStore.Choice choice) throws Problem {
        int threads = app.settings().threads();
        String power = app.settings().powerMode();
        String wanted = choice.model.folder + choice.id + threads + power;
        if (!wanted.equals(loaded) || !app.engine().isLoaded()) {
            loaded = null;
            load(app, choice, threads, power);
            checkGolden(app, choice);
            loaded = wanted;
        }
    }

    /** Checks a model's file and then, only then, gives it to native code. */
    static void load(DemoApp app, ModelStore.Choice choice, int threads, String power) throws Problem {
        String library = app.models().libraryVersion();
        if (library == null) {
            throw new Problem(Problem.Code.NO_LIBRARY, Abi.ofProcess());
        }
        File file = choice.model.checkModel(choice.variant, library);
        app.engine().load(file, threads, power, choice.model.spec.inputShape);
    }

    /**
     * Lets the loaded network compute what it computed when it was exported.
     *
     * @return true; null when the model brings nothing to compare with
     * @throws Problem GOLDEN_FAILED
     */
    static Boolean checkGolden(DemoApp app, ModelStore.Choice choice) throws Problem {
        float[] golden = choice.model.goldenOutput();
        if (golden == null) {
            return null;
        }
        Scores.checkGolden(app.engine().run(choice.model.goldenInput(), 0, 1).output, golden, choice.variant.rtol);
        return true;
    }

    private void tell() {
        if (listener != null) {
            listener.changed();
        }
    }
}
