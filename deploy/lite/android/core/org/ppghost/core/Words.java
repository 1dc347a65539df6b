package org.ppghost.core;

/** The app's sentences in the user's language: the string resources, by name. */
public interface Words {

    /**
     * Returns a sentence.
     *
     * @param name name of the string resource
     * @param parts what goes into its places
     */
    String get(String name, Object... parts);
}
