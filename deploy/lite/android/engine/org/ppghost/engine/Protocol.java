package org.ppghost.engine;

import android.os.Bundle;
import org.ppghost.core.Problem;

/** What client and service send each other. A tensor goes as a file: Binder takes less than a megabyte at a time. */
final class Protocol {

    static final int LOAD = 1;
    static final int RUN = 2;
    static final int QUIT = 3;

    static final String MODEL = "model";
    static final String THREADS = "threads";
    static final String POWER_MODE = "power_mode";
    static final String SHAPE = "shape";
    static final String VERSION = "version";
    static final String INPUT = "input";
    static final String WARM_UP = "warm_up";
    static final String REPEATS = "repeats";
    static final String OUTPUT = "output";
    static final String TIMES = "times";
    static final String MEMORY_KB = "memory_kb";

    private static final String CODE = "code";
    private static final String WORDS = "words";

    private Protocol() {}

    static Bundle of(Problem problem) {
        Bundle bundle = new Bundle();
        bundle.putString(CODE, problem.code().name());
        bundle.putStringArray(WORDS, problem.words());
        return bundle;
    }

    /** Returns an answer that is no problem. */
    static Bundle checked(Bundle answer) throws Problem {
        String code = answer.getString(CODE);
        if (code != null) {
            throw new Problem(Problem.Code.valueOf(code), (Object[]) answer.getStringArray(WORDS));
        }
        return answer;
    }
}
