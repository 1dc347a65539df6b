package com.baidu.paddle.lite;

/** Signatures only. */
public enum PowerMode {
    /** Signature only. */
    LITE_POWER_HIGH,
    /** Signature only. */
    LITE_POWER_LOW,
    /** Signature only. */
    LITE_POWER_FULL,
    /** Signature only. */
    LITE_POWER_NO_BIND,
    /** Signature only. */
    LITE_POWER_RAND_HIGH,
    /** Signature only. */
    LITE_POWER_RAND_LOW
}
