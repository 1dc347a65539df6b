package org.ppghost.engine;

import android.content.ComponentName;
import android.content.Context;
import android.content.Intent;
import android.content.ServiceConnection;
import android.os.Bundle;
import android.os.Handler;
import android.os.IBinder;
import android.os.Looper;
import android.os.Message;
import android.os.Messenger;
import android.os.RemoteException;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.ppghost.core.Bytes;
import org.ppghost.core.Problem;

/**
 * The engine as the app sees it. Every call waits, so none may come from the main thread; one thread at a time.
 *
 * <p>When the engine's process ends, the call that waits gets ENGINE_DIED, and the next {@link #load} starts a new one.
 */
public final class EngineClient {

    private static final long START_SECONDS = 20;
    private static final long LOAD_SECONDS = 60;
    private static final long RUN_SECONDS = 60;
    private static final long SECONDS_PER_RUN = 5;
    private static final long QUIT_SECONDS = 5;

    private final Context context;
    private Link link;
    private String version;

    /** What a run gave. */
    public static final class Outcome {
        /** The network's output, one value for each class. */
        public final float[] output;
        /** Nanoseconds of each timed run, in order. */
        public final long[] times;
        /** Memory of the engine's process (proportional set size) in kilobytes. */
        public final long memoryKb;

        private Outcome(Bundle answer) {
            output = answer.getFloatArray(Protocol.OUTPUT);
            times = answer.getLongArray(Protocol.TIMES);
            memoryKb = answer.getLong(Protocol.MEMORY_KB);
        }
    }

    /** Makes a client; nothing is started. */
    public EngineClient(Context context) {
        this.context = context.getApplicationContext();
    }

    /**
     * Loads a model whose file was checked into a fresh process.
     *
     * @throws Problem NO_LIBRARY, ENGINE_REFUSED, ENGINE_DIED, ENGINE_SLOW
     */
    public void load(File model, int threads, String powerMode, long[] inputShape) throws Problem {
        quit();
        Link opened = new Link();
        opened.open(context);
        link = opened;
        Bundle data = new Bundle();
        data.putString(Protocol.MODEL, model.getPath());
        data.putInt(Protocol.THREADS, threads);
        data.putString(Protocol.POWER_MODE, powerMode);
        data.putLongArray(Protocol.SHAPE, inputShape);
        version = ask(Protocol.LOAD, data, LOAD_SECONDS).getString(Protocol.VERSION);
    }

    /**
     * Runs the loaded model on one picture.
     *
     * @param tensor float32 [3, height, width]
     * @param warmUp runs that are not timed
     * @param repeats timed runs, at least 1
     * @throws Problem ENGINE_DIED, ENGINE_SLOW, ENGINE_REFUSED, NO_SPACE
     */
    public Outcome run(float[] tensor, int warmUp, int repeats) throws Problem {
        File file = new File(context.getCacheDir(), "tensor.bin");
        try (OutputStream out = new FileOutputStream(file)) {
            out.write(Bytes.bytes(tensor));
        } catch (IOException e) {
            throw new Problem(Problem.Code.IO, String.valueOf(e.getMessage()));
        }
        Bundle data = new Bundle();
        data.putString(Protocol.INPUT, file.getPath());
        data.putInt(Protocol.WARM_UP, warmUp);
        data.putInt(Protocol.REPEATS, repeats);
        return new Outcome(ask(Protocol.RUN, data, RUN_SECONDS + SECONDS_PER_RUN * (warmUp + repeats)));
    }

    /** Returns whether a model is loaded and its process lives. */
    public boolean isLoaded() {
        return link != null && version != null && !link.isDead();
    }

    /** Returns the version of the library that loaded the model; null when none did. */
    public String version() {
        return version;
    }

    /** Ends the engine's process and waits until it is gone. */
    public void quit() {
        if (link != null) {
            link.close(context);
        }
        link = null;
        version = null;
    }

    private Bundle ask(int what, Bundle data, long seconds) throws Problem {
        if (link == null) {
            throw new Problem(Problem.Code.ENGINE_DIED);
        }
        boolean isAnswered = false;
        try {
            Bundle answer = Protocol.checked(link.ask(what, data, seconds));
            isAnswered = true;
            return answer;
        } finally {
            if (!isAnswered) {
                // Whatever state the process is in, the next model gets a new one.
                quit();
            }
        }
    }

    /** The connection to one process, from its start to its end. */
    private static final class Link implements ServiceConnection, IBinder.DeathRecipient, Handler.Callback {

        private static final int DIED = 0;

        private final BlockingQueue<Message> answers = new LinkedBlockingQueue<>();
        private final CountDownLatch connected = new CountDownLatch(1);
        private final CountDownLatch dead = new CountDownLatch(1);
        private final Messenger inbox = new Messenger(new Handler(Looper.getMainLooper(), this));
        private Messenger service;

        void open(Context context) throws Problem {
            Intent intent = new Intent(context, EngineService.class);
            boolean isBound = context.bindService(intent, this, Context.BIND_AUTO_CREATE);
            if (!isBound || !await(connected, START_SECONDS)) {
                context.unbindService(this);
                throw new Problem(Problem.Code.ENGINE_SLOW, START_SECONDS);
            }
        }

        Bundle ask(int what, Bundle data, long seconds) throws Problem {
            Message message = Message.obtain(null, what);
            message.setData(data);
            message.replyTo = inbox;
            try {
                service.send(message);
                Message answer = answers.poll(seconds, TimeUnit.SECONDS);
                // A call that gave up takes its process along, so no answer comes too late to another call.
                if (answer != null && answer.what != DIED) {
                    return answer.getData();
                }
                if (answer != null) {
                    throw new Problem(Problem.Code.ENGINE_DIED);
                }
            } catch (RemoteException e) {
                throw new Problem(Problem.Code.ENGINE_DIED);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            throw new Problem(Problem.Code.ENGINE_SLOW, seconds);
        }

        void close(Context context) {
            // Unbound first: the system restarts a bound service whose process ended.
            context.unbindService(this);
            try {
                service.send(Message.obtain(null, Protocol.QUIT));
                await(dead, QUIT_SECONDS);
            } catch (RemoteException e) {
                dead.countDown();
            }
        }

        boolean isDead() {
            return dead.getCount() == 0;
        }

        @Override
        public void onServiceConnected(ComponentName name, IBinder binder) {
            // Not again: a restarted process has no model.
            if (connected.getCount() == 1) {
                service = new Messenger(binder);
                try {
                    binder.linkToDeath(this, 0);
                } catch (RemoteException e) {
                    binderDied();
                }
                connected.countDown();
            }
        }

        @Override
        public void onServiceDisconnected(ComponentName name) {
            binderDied();
        }

        @Override
        public void binderDied() {
            dead.countDown();
            answers.add(Message.obtain(null, DIED));
        }

        @Override
        public boolean handleMessage(Message message) {
            answers.add(Message.obtain(message));
            return true;
        }

        private static boolean await(CountDownLatch latch, long seconds) {
            try {
                return latch.await(seconds, TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return false;
            }
        }
    }
}
