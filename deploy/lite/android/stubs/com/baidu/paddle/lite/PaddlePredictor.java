package com.baidu.paddle.lite;

/** Signatures only. */
public class PaddlePredictor {
    /** Signature only. */
    public static native PaddlePredictor createPaddlePredictor(ConfigBase config);

    /** Signature only. */
    public native Tensor getInput(int index);

    /** Signature only. */
    public native Tensor getOutput(int index);

    /** Signature only. */
    public native boolean run();

    /** Signature only. */
    public native String getVersion();
}
