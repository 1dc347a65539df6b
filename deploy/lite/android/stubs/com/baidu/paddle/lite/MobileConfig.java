package com.baidu.paddle.lite;

/** Signatures only. */
public class MobileConfig extends ConfigBase {
    /** Signature only. */
    public native void setModelFromFile(String path);

    /** Signature only. */
    public native void setThreads(int threads);

    /** Signature only. */
    public native void setPowerMode(PowerMode mode);
}
