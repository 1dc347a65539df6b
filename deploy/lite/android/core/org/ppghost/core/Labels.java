package org.ppghost.core;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.Charset;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/** The names of the classes: lines "id name", UTF-8 or else GBK, as {@code ppghost.vision.Labels} reads them. */
public final class Labels {

    private static final String BREAKS = "\n\u000B\f\r\u001C\u001D\u001E\u0085\u2028\u2029";

    private final String[] names;

    private Labels(String[] names) {
        this.names = names;
    }

    /** Returns labels that are the numbers of the classes, for a network whose classes have no names. */
    public static Labels numbers(int classCount) {
        String[] names = new String[classCount];
        for (int i = 0; i < classCount; i++) {
            names[i] = "#" + i;
        }
        return new Labels(names);
    }

    /**
     * Reads the bytes of a label file.
     *
     * @param bytes the file
     * @param classCount how many classes the network has; ids must be 0 to classCount - 1, each once
     * @throws Problem LABEL_ENCODING, BAD_LABELS or LABEL_COUNT
     */
    public static Labels read(byte[] bytes, int classCount) throws Problem {
        String text = decode(bytes);
        String[] names = new String[classCount];
        int count = 0;
        int number = 0;
        for (int start = 0; start < text.length(); ) {
            int end = lineEnd(text, start);
            String line = text.substring(start, end);
            number++;
            start = end + (text.startsWith("\r\n", end) ? 2 : 1);
            if (!isBlank(line)) {
                int id = id(line, number);
                if (id < classCount && names[id] != null) {
                    throw new Problem(Problem.Code.BAD_LABELS, number, line);
                }
                count++;
                if (id < classCount) {
                    names[id] = nameOf(line);
                }
            }
        }
        for (String name : names) {
            if (name == null || count != classCount) {
                throw new Problem(Problem.Code.LABEL_COUNT, count, classCount);
            }
        }
        return new Labels(names);
    }

    /** Returns the name of a class. */
    public String nameOf(int classId) {
        return names[classId];
    }

    /** Returns how many classes there are. */
    public int size() {
        return names.length;
    }

    private static int id(String line, int number) throws Problem {
        int space = line.indexOf(' ');
        String text = strip(space < 0 ? line : line.substring(0, space));
        try {
            if (!text.isEmpty() && Character.isDigit(text.charAt(0))) {
                return Integer.parseInt(text);
            }
        } catch (NumberFormatException e) {
            // Told below, with the line.
        }
        throw new Problem(Problem.Code.BAD_LABELS, number, line.length() > 60 ? line.substring(0, 60) : line);
    }

    private static String nameOf(String line) {
        int space = line.indexOf(' ');
        return space < 0 ? "" : strip(line.substring(space + 1));
    }

    private static int lineEnd(String text, int start) {
        int end = start;
        while (end < text.length() && BREAKS.indexOf(text.charAt(end)) < 0) {
            end++;
        }
        return end;
    }

    private static boolean isBlank(String line) {
        return strip(line).isEmpty();
    }

    /** Returns the text without white space at its ends; unlike trim(), the wide space of Chinese texts is one. */
    private static String strip(String text) {
        int start = 0;
        int end = text.length();
        while (start < end && isSpace(text.charAt(start))) {
            start++;
        }
        while (end > start && isSpace(text.charAt(end - 1))) {
            end--;
        }
        return text.substring(start, end);
    }

    private static boolean isSpace(char c) {
        return Character.isWhitespace(c) || Character.isSpaceChar(c);
    }

    private static String decode(byte[] bytes) throws Problem {
        Charset[] charsets = {StandardCharsets.UTF_8, Charset.forName("GBK")};
        for (Charset charset : charsets) {
            try {
                String text =
                        charset.newDecoder()
                                .onMalformedInput(CodingErrorAction.REPORT)
                                .onUnmappableCharacter(CodingErrorAction.REPORT)
                                .decode(ByteBuffer.wrap(bytes))
                                .toString();
                return text.startsWith("\uFEFF") ? text.substring(1) : text;
            } catch (CharacterCodingException e) {
                continue;
            }
        }
        throw new Problem(Problem.Code.LABEL_ENCODING);
    }
}
