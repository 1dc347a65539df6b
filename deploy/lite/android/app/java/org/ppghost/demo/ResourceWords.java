package org.ppghost.demo;

import android.content.Context;
import java.util.Locale;
import org.ppghost.core.Problem;
import org.ppghost.core.Words;

/** The sentences of the resources, in the user's language. */
final class ResourceWords implements Words {

    private final Context context;

    ResourceWords(Context context) {
        this.context = context;
    }

    @Override
    public String get(String name, Object... parts) {
        int id = context.getResources().getIdentifier(name, "string", context.getPackageName());
        return String.format(Locale.ROOT, context.getString(id), parts);
    }

    /** Returns the sentence of a problem. */
    String of(Problem problem) {
        return get("problem_" + problem.code().name().toLowerCase(Locale.ROOT), (Object[]) problem.words());
    }
}
