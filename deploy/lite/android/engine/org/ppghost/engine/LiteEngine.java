package org.ppghost.engine;

import com.baidu.paddle.lite.MobileConfig;
import com.baidu.paddle.lite.PaddlePredictor;
import com.baidu.paddle.lite.PowerMode;
import com.baidu.paddle.lite.Tensor;
import java.io.File;
import org.ppghost.core.Problem;

/**
 * Paddle Lite. Loaded by name only, since an app may be built without the library.
 *
 * <p>The model comes from a file: the library's way from a buffer passes it through UTF-8, which no model survives.
 * Nothing is released here: the process ends with the model.
 */
final class LiteEngine implements Engine {

    private PaddlePredictor predictor;
    private Tensor input;

    @Override
    public void load(File model, int threads, String powerMode, long[] inputShape) throws Problem {
        MobileConfig config = new MobileConfig();
        config.setModelFromFile(model.getPath());
        config.setThreads(threads);
        config.setPowerMode(PowerMode.valueOf(powerMode));
        predictor = PaddlePredictor.createPaddlePredictor(config);
        if (predictor == null) {
            throw new Problem(Problem.Code.ENGINE_REFUSED, "createPaddlePredictor");
        }
        input = predictor.getInput(0);
        if (input == null || !input.resize(inputShape)) {
            throw new Problem(Problem.Code.ENGINE_REFUSED, "resize");
        }
    }

    @Override
    public void setInput(float[] tensor) throws Problem {
        if (!input.setData(tensor)) {
            throw new Problem(Problem.Code.ENGINE_REFUSED, "setData " + tensor.length);
        }
    }

    @Override
    public void run() throws Problem {
        if (!predictor.run()) {
            throw new Problem(Problem.Code.ENGINE_REFUSED, "run");
        }
    }

    @Override
    public float[] output() throws Problem {
        Tensor output = predictor.getOutput(0);
        float[] values = output == null ? null : output.getFloatData();
        if (values == null) {
            throw new Problem(Problem.Code.ENGINE_REFUSED, "getOutput");
        }
        return values;
    }

    @Override
    public String version() {
        return predictor.getVersion();
    }
}
