package org.ppghost.engine;

import java.io.File;
import org.ppghost.core.Problem;

/** Something that runs a network. One thread creates it and uses it. */
interface Engine {

    /**
     * Loads a model whose file was checked.
     *
     * @param threads number of threads, at least 1
     * @param powerMode name of Paddle Lite's power mode, such as "LITE_POWER_HIGH"
     * @param inputShape [1, 3, height, width]
     * @throws Problem ENGINE_REFUSED
     */
    void load(File model, int threads, String powerMode, long[] inputShape) throws Problem;

    /** Copies a picture's tensor, float32 [3, height, width], into the input. */
    void setInput(float[] tensor) throws Problem;

    /** Runs the network once on the input. */
    void run() throws Problem;

    /** Returns a copy of the output, one value for each class. */
    float[] output() throws Problem;

    /** Returns the version of the library. */
    String version();
}
