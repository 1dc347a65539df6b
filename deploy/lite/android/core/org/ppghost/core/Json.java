package org.ppghost.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads and writes JSON (RFC 8259): objects are {@link Map}s in the order of the file, arrays {@link List}s, whole
 * numbers {@link Long}, other numbers {@link Double}, and String, Boolean and null are themselves.
 *
 * <p>Reading is strict: no comments, no key twice, nothing behind the value, at most {@value #MAX_DEPTH} levels.
 */
public final class Json {

    /** How deep arrays and objects may be nested; a phone's stack is small. */
    public static final int MAX_DEPTH = 64;

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /**
     * Reads one value.
     *
     * @param text the whole document; a byte order mark before it is passed over
     * @return the value; null for {@code null}
     * @throws Problem BAD_MANIFEST with the place at which it is no JSON
     */
    public static Object read(String text) throws Problem {
        Json json = new Json(text);
        if (text.startsWith("\uFEFF")) {
            json.at = 1;
        }
        Object value = json.value(0);
        json.skipSpace();
        if (json.at < text.length()) {
            throw json.wrong("the end");
        }
        return value;
    }

    /**
     * Writes one value, indented by two spaces, arrays of numbers on one line; ends with a line feed.
     *
     * @param value what {@link #read} gives; Integers too
     * @throws IllegalArgumentException a number is not finite, or a type has no JSON form
     */
    public static String write(Object value) {
        StringBuilder out = new StringBuilder();
        append(out, value, "\n");
        return out.append('\n').toString();
    }

    private Object value(int depth) throws Problem {
        skipSpace();
        if (at >= text.length() || depth > MAX_DEPTH) {
            throw wrong(depth > MAX_DEPTH ? "fewer levels" : "a value");
        }
        switch (text.charAt(at)) {
            case '{':
                return object(depth);
            case '[':
                return array(depth);
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            default:
                return number();
        }
    }

    private Map<String, Object> object(int depth) throws Problem {
        Map<String, Object> map = new LinkedHashMap<>();
        at++;
        if (takes('}')) {
            return map;
        }
        do {
            skipSpace();
            if (at >= text.length() || text.charAt(at) != '"') {
                throw wrong("a key");
            }
            String key = string();
            if (map.containsKey(key)) {
                throw wrong("each key once, but '" + key + "' comes again");
            }
            expect(':');
            map.put(key, value(depth + 1));
        } while (takes(','));
        expect('}');
        return map;
    }

    private List<Object> array(int depth) throws Problem {
        List<Object> list = new ArrayList<>();
        at++;
        if (takes(']')) {
            return list;
        }
        do {
            list.add(value(depth + 1));
        } while (takes(','));
        expect(']');
        return list;
    }

    private String string() throws Problem {
        StringBuilder out = new StringBuilder();
        at++;
        while (at < text.length() && text.charAt(at) != '"') {
            char c = text.charAt(at++);
            if (c < ' ') {
                throw wrong("no control character in a string");
            }
            out.append(c == '\\' ? escape() : c);
        }
        if (at >= text.length()) {
            throw wrong("the end of a string");
        }
        at++;
        return out.toString();
    }

    private char escape() throws Problem {
        char c = at < text.length() ? text.charAt(at++) : ' ';
        int plain = "\"\\/bfnrt".indexOf(c);
        if (plain >= 0) {
            return "\"\\/\b\f\n\r\t".charAt(plain);
        }
        int code = 0;
        for (int i = 0; c == 'u' && i < 4; i++) {
            int digit = at < text.length() ? Character.digit(text.charAt(at), 16) : -1;
            if (digit < 0 || text.charAt(at++) > 'f') {
                throw wrong("four hexadecimal digits");
            }
            code = code * 16 + digit;
        }
        if (c != 'u') {
            throw wrong("a known escape");
        }
        return (char) code;
    }

    private Object word(String word, Object value) throws Problem {
        if (!text.startsWith(word, at)) {
            throw wrong("a value");
        }
        at += word.length();
        return value;
    }

    private Object number() throws Problem {
        int start = at;
        takesHere('-');
        boolean isZero = takesHere('0');
        if (!isZero) {
            digits();
        }
        boolean isWhole = true;
        if (takesHere('.')) {
            isWhole = false;
            digits();
        }
        if (takesHere('e') || takesHere('E')) {
            isWhole = false;
            if (!takesHere('-')) {
                takesHere('+');
            }
            digits();
        }
        return parsed(text.substring(start, at), isWhole);
    }

    private Object parsed(String digits, boolean isWhole) throws Problem {
        try {
            if (isWhole) {
                return Long.valueOf(digits);
            }
        } catch (NumberFormatException e) {
            throw wrong("a whole number of at most 64 bits, not " + digits);
        }
        double number = Double.parseDouble(digits);
        if (Double.isInfinite(number)) {
            throw wrong("a number that a double can hold, not " + digits);
        }
        return number;
    }

    private void digits() throws Problem {
        int start = at;
        while (at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
            at++;
        }
        if (at == start) {
            throw wrong("a value");
        }
    }

    private boolean takesHere(char c) {
        boolean is = at < text.length() && text.charAt(at) == c;
        at += is ? 1 : 0;
        return is;
    }

    private boolean takes(char c) {
        skipSpace();
        return takesHere(c);
    }

    private void expect(char c) throws Problem {
        if (!takes(c)) {
            throw wrong("'" + c + "'");
        }
    }

    private void skipSpace() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private Problem wrong(String expected) {
        int line = 1;
        for (int i = 0; i < Math.min(at, text.length()); i++) {
            line += text.charAt(i) == '\n' ? 1 : 0;
        }
        return new Problem(Problem.Code.BAD_MANIFEST, "line " + line + ": JSON should have " + expected + " here");
    }

    private static void append(StringBuilder out, Object value, String newLine) {
        if (value instanceof Map) {
            appendObject(out, (Map<?, ?>) value, newLine);
        } else if (value instanceof List) {
            appendArray(out, (List<?>) value, newLine);
        } else if (value instanceof String) {
            appendString(out, (String) value);
        } else if (value instanceof Double && !isFinite((Double) value)) {
            throw new IllegalArgumentException("JSON has no " + value);
        } else if (value == null || value instanceof Boolean || isNumber(value)) {
            out.append(value);
        } else {
            throw new IllegalArgumentException("JSON has no " + value.getClass());
        }
    }

    private static void appendObject(StringBuilder out, Map<?, ?> map, String newLine) {
        String before = "";
        out.append('{');
        for (Map.Entry<?, ?> entry : map.entrySet()) {
            out.append(before).append(newLine).append("  ");
            appendString(out, (String) entry.getKey());
            append(out.append(": "), entry.getValue(), newLine + "  ");
            before = ",";
        }
        out.append(map.isEmpty() ? "" : newLine).append('}');
    }

    private static void appendArray(StringBuilder out, List<?> list, String newLine) {
        boolean isShort = true;
        for (Object value : list) {
            isShort &= !(value instanceof Map || value instanceof List);
        }
        String before = "";
        out.append('[');
        for (Object value : list) {
            out.append(before).append(isShort ? (before.isEmpty() ? "" : " ") : newLine + "  ");
            append(out, value, newLine + "  ");
            before = ",";
        }
        out.append(isShort ? "" : newLine).append(']');
    }

    private static void appendString(StringBuilder out, String text) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            int escaped = "\"\\\b\f\n\r\t".indexOf(c);
            if (escaped >= 0) {
                out.append('\\').append("\"\\bfnrt".charAt(escaped));
            } else if (c < ' ' || Character.isSurrogate(c) || c == '\u2028' || c == '\u2029') {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        out.append('"');
    }

    private static boolean isNumber(Object value) {
        return value instanceof Integer || value instanceof Long || value instanceof Double;
    }

    private static boolean isFinite(double value) {
        return !Double.isNaN(value) && !Double.isInfinite(value);
    }
}
