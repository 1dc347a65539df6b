package org.ppghost.demo;

import android.content.Context;
import android.content.SharedPreferences;

/** What the user chose; kept across runs of the app. */
final class Settings {

    /** The choices for the number of threads. */
    static final int[] THREADS = {1, 2, 4, 8};
    /** The choices for runs that are not timed. */
    static final int[] WARM_UPS = {0, 1, 5, 10};
    /** The choices for timed runs. */
    static final int[] REPEATS = {1, 5, 10, 30, 100};
    /** The choices for the number of classes shown. */
    static final int[] TOP_KS = {1, 3, 5, 10};
    /** Paddle Lite's power modes. */
    static final String[] POWER_MODES = {
        "LITE_POWER_NO_BIND",
        "LITE_POWER_HIGH",
        "LITE_POWER_LOW",
        "LITE_POWER_FULL",
        "LITE_POWER_RAND_HIGH",
        "LITE_POWER_RAND_LOW",
    };

    private final SharedPreferences kept;

    Settings(Context context) {
        kept = context.getSharedPreferences("settings", Context.MODE_PRIVATE);
    }

    int threads() {
        return kept.getInt("threads", THREADS[0]);
    }

    String powerMode() {
        return kept.getString("power_mode", POWER_MODES[0]);
    }

    int warmUp() {
        return kept.getInt("warm_up", WARM_UPS[1]);
    }

    int repeats() {
        return kept.getInt("repeats", REPEATS[2]);
    }

    int topK() {
        return kept.getInt("top_k", TOP_KS[2]);
    }

    /** Returns the id of the chosen model; null when none was. */
    String model() {
        return kept.getString("model", null);
    }

    void keep(String name, int value) {
        kept.edit().putInt(name, value).apply();
    }

    void keep(String name, String value) {
        kept.edit().putString(name, value).apply();
    }
}
