package org.ppghost.engine;

import android.app.Service;
import android.content.Intent;
import android.os.Bundle;
import android.os.Debug;
import android.os.Handler;
import android.os.HandlerThread;
import android.os.IBinder;
import android.os.Looper;
import android.os.Message;
import android.os.Messenger;
import android.os.Process;
import android.os.RemoteException;
import android.util.Log;
import java.io.File;
import org.ppghost.core.Abi;
import org.ppghost.core.Bytes;
import org.ppghost.core.Problem;

/**
 * Runs one model in the process ":lite" and nothing else there.
 *
 * <p>Paddle Lite aborts its process when it meets a model that it cannot read, and another model loaded into the same
 * process gave wrong results on some phones (Paddle-Lite #10492). So the process lives as long as one model.
 */
public final class EngineService extends Service implements Handler.Callback {

    private static final String TAG = "ppghost";
    private static final String ENGINE = "org.ppghost.engine.LiteEngine";
    private static final long MAX_TENSOR_BYTES = 256L << 20;

    private HandlerThread worker;
    private Handler queue;
    private Messenger messenger;
    private Engine engine;

    @Override
    public void onCreate() {
        super.onCreate();
        // A predictor is created and used on one thread (Paddle-Lite #9886).
        worker = new HandlerThread("engine");
        worker.start();
        queue = new Handler(worker.getLooper(), this);
        messenger = new Messenger(new Handler(Looper.getMainLooper(), new Reception()));
    }

    @Override
    public IBinder onBind(Intent intent) {
        return messenger.getBinder();
    }

    @Override
    public void onDestroy() {
        worker.quit();
        super.onDestroy();
    }

    @Override
    public boolean handleMessage(Message message) {
        Message answer = Message.obtain(null, message.what);
        answer.setData(answer(message));
        try {
            message.replyTo.send(answer);
        } catch (RemoteException e) {
            Log.i(TAG, "nobody waits for the engine's answer", e);
        }
        return true;
    }

    /** Receives on the main thread, so that a process whose engine hangs can still be ended. */
    private final class Reception implements Handler.Callback {
        @Override
        public boolean handleMessage(Message message) {
            if (message.what == Protocol.QUIT) {
                Process.killProcess(Process.myPid());
            }
            queue.sendMessage(Message.obtain(message));
            return true;
        }
    }

    private Bundle answer(Message message) {
        try {
            return message.what == Protocol.LOAD ? load(message.getData()) : run(message.getData());
        } catch (Problem problem) {
            return Protocol.of(problem);
        } catch (LinkageError | ReflectiveOperationException e) {
            Log.w(TAG, "Paddle Lite cannot be loaded", e);
            return Protocol.of(new Problem(Problem.Code.NO_LIBRARY, Abi.ofProcess()));
        } catch (OutOfMemoryError e) {
            Log.w(TAG, "the engine has no memory", e);
            return Protocol.of(new Problem(Problem.Code.NO_MEMORY));
        }
    }

    private Bundle load(Bundle asked) throws Problem, ReflectiveOperationException {
        engine = (Engine) Class.forName(ENGINE).newInstance();
        engine.load(
                new File(asked.getString(Protocol.MODEL)),
                asked.getInt(Protocol.THREADS),
                asked.getString(Protocol.POWER_MODE),
                asked.getLongArray(Protocol.SHAPE));
        Bundle answer = new Bundle();
        answer.putString(Protocol.VERSION, engine.version());
        return answer;
    }

    private Bundle run(Bundle asked) throws Problem {
        File input = new File(asked.getString(Protocol.INPUT));
        engine.setInput(Bytes.floats(Bytes.read(input, MAX_TENSOR_BYTES)));
        for (int i = asked.getInt(Protocol.WARM_UP); i > 0; i--) {
            engine.run();
        }
        long[] times = new long[asked.getInt(Protocol.REPEATS)];
        for (int i = 0; i < times.length; i++) {
            long start = System.nanoTime();
            engine.run();
            times[i] = System.nanoTime() - start;
        }
        Bundle answer = new Bundle();
        answer.putLongArray(Protocol.TIMES, times);
        answer.putFloatArray(Protocol.OUTPUT, engine.output());
        answer.putLong(Protocol.MEMORY_KB, Debug.getPss());
        return answer;
    }
}
