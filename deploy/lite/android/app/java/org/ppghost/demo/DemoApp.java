package org.ppghost.demo;

import android.app.Application;
import android.os.Handler;
import android.os.Looper;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.ppghost.engine.EngineClient;

/** What outlives a screen: the thread that works, the engine, the models, the last result and the benchmark. */
public final class DemoApp extends Application {

    /** One thread, so that the engine is never asked twice at a time. */
    private final ExecutorService worker = Executors.newSingleThreadExecutor();

    private final Handler main = new Handler(Looper.getMainLooper());
    private ModelStore models;
    private EngineClient engine;
    private Settings settings;
    private Classification classification;
    private Benchmark benchmark;

    @Override
    public void onCreate() {
        super.onCreate();
        if (isEngineProcess()) {
            return;
        }
        settings = new Settings(this);
        models = new ModelStore(this);
        engine = new EngineClient(this);
        classification = new Classification(this);
        benchmark = new Benchmark(this);
        work(models.preparation());
    }

    /** Runs something after what is waiting already, not on the main thread. */
    void work(Runnable task) {
        worker.execute(task);
    }

    /** Runs something on the main thread. */
    void show(Runnable task) {
        main.post(task);
    }

    ModelStore models() {
        return models;
    }

    EngineClient engine() {
        return engine;
    }

    Settings settings() {
        return settings;
    }

    Classification classification() {
        return classification;
    }

    Benchmark benchmark() {
        return benchmark;
    }

    /** Returns whether this is the process of the engine, which needs nothing of all this. */
    private boolean isEngineProcess() {
        return Phone.processName().endsWith(":lite");
    }
}
