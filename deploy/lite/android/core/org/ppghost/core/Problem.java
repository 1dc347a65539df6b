package org.ppghost.core;

/**
 * What the owner of the phone must be told: a code, and the words that belong into its sentence.
 *
 * <p>The sentence itself is the string resource {@code problem_<code in lower case>} in the app's languages, with as
 * many places as the code has words. {@link #getMessage} is for logs and for desktop programs.
 */
public final class Problem extends Exception {

    /** The kinds of problems, and how many words each one's sentence has places for. */
    public enum Code {
        /** A model folder has no ppghost.json: folder. */
        NO_MANIFEST(1),
        /** ppghost.json cannot be used: what is wrong with it. */
        BAD_MANIFEST(1),
        /** The manifest names a file that is not there: file. */
        MISSING_FILE(1),
        /** No model of the folder is made for this phone: ABI of the phone, architectures in the folder. */
        NO_MODEL_FOR_ABI(2),
        /** A model file has no bytes: file. */
        NB_EMPTY(1),
        /** A model file ends too early: file. */
        NB_TRUNCATED(1),
        /** A file is no Paddle Lite model: file. */
        NB_FOREIGN(1),
        /** A model file has another layout: file, its layout's number, the known number. */
        NB_LAYOUT(3),
        /** A model was converted by another version: file, that version, version of the library in the app. */
        NB_VERSION(3),
        /** A file is not the one that the manifest describes: file. */
        CHECKSUM(1),
        /** The label file has another number of classes: names in the file, classes of the network. */
        LABEL_COUNT(2),
        /** The label file cannot be read: line number, the line. */
        BAD_LABELS(2),
        /** The label file is neither UTF-8 nor GBK. */
        LABEL_ENCODING(0),
        /** A file is no picture that can be decoded. */
        NO_PICTURE(0),
        /** After resizing, a picture is smaller than the crop: width, height, crop. */
        PICTURE_TOO_SMALL(3),
        /** There is too little free space: megabytes needed, megabytes free. */
        NO_SPACE(2),
        /** A file is no zip archive, or a damaged one. */
        BAD_ZIP(0),
        /** A zip archive wants to write outside its folder: entry. */
        ZIP_ESCAPE(1),
        /** A zip archive is larger than a model can be: limit in megabytes, or in files. */
        ZIP_TOO_LARGE(1),
        /** The app was built without Paddle Lite for this phone: ABI. */
        NO_LIBRARY(1),
        /** The process of the engine ended. */
        ENGINE_DIED(0),
        /** The engine gave no answer in time: seconds. */
        ENGINE_SLOW(1),
        /** The engine refused: its words. */
        ENGINE_REFUSED(1),
        /** The network's output has another length: values, classes. */
        OUTPUT_LENGTH(2),
        /** The network's output is not finite. */
        OUTPUT_NOT_FINITE(0),
        /** The network does not give the output that it gave when it was exported: largest difference, allowed. */
        GOLDEN_FAILED(2),
        /** There is not enough memory for this picture or model. */
        NO_MEMORY(0),
        /** No app on the phone can do what was asked. */
        NO_APP(0),
        /** No model is chosen, or there is none. */
        NO_MODEL(0),
        /** A file cannot be read or written: the system's words. */
        IO(1);

        private final int words;

        Code(int words) {
            this.words = words;
        }

        /** Returns how many words the sentence of this code has places for. */
        public int words() {
            return words;
        }
    }

    private static final long serialVersionUID = 1L;

    private final Code code;
    private final String[] words;

    /**
     * Makes a problem.
     *
     * @param code what went wrong
     * @param words one for each place of its sentence
     */
    public Problem(Code code, Object... words) {
        super(describe(code, words));
        this.code = code;
        this.words = new String[words.length];
        for (int i = 0; i < words.length; i++) {
            this.words[i] = String.valueOf(words[i]);
        }
    }

    /** Returns what went wrong. */
    public Code code() {
        return code;
    }

    /** Returns the words of the sentence, {@code code().words()} of them. */
    public String[] words() {
        return words.clone();
    }

    private static String describe(Code code, Object[] words) {
        if (words.length != code.words()) {
            throw new IllegalArgumentException(code + " has " + code.words() + " words, not " + words.length);
        }
        StringBuilder text = new StringBuilder(code.name());
        for (Object word : words) {
            text.append(text.length() == code.name().length() ? ": " : ", ").append(word);
        }
        return text.toString();
    }
}
