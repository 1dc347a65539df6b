package com.baidu.paddle.lite;

/** Signatures only. */
public class Tensor {
    /** Signature only. */
    public native boolean resize(long[] shape);

    /** Signature only. */
    public native boolean setData(float[] values);

    /** Signature only. */
    public native float[] getFloatData();
}
