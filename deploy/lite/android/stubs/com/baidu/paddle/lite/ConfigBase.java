package com.baidu.paddle.lite;

/** Signature only. */
public class ConfigBase {}
