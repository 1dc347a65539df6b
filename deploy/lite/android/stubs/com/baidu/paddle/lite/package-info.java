/**
 * Signatures of Paddle Lite's Java API, as far as the app calls it, to compile against where the library is not.
 *
 * <p>Never packaged: an app built without the library has no class of this package. Source of the signatures:
 * Paddle-Lite lite/api/android/jni/src/com/baidu/paddle/lite, equal in v2.12, v2.13-rc and develop.
 */
package com.baidu.paddle.lite;
