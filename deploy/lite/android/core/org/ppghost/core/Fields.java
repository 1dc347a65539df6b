package org.ppghost.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/** A JSON object whose entries are asked for by name and type; what is missing or of another type is a Problem. */
final class Fields {

    private static final int MAX_TEXT = 200;

    private final Map<?, ?> map;
    private final String where;

    private Fields(Map<?, ?> map, String where) {
        this.map = map;
        this.where = where;
    }

    /** Returns the entries of a value that must be an object; {@code where} is its name in messages. */
    static Fields of(Object value, String where) throws Problem {
        if (!(value instanceof Map)) {
            throw new Problem(Problem.Code.BAD_MANIFEST, where + " must be an object");
        }
        return new Fields((Map<?, ?>) value, where);
    }

    boolean has(String name) {
        return map.get(name) != null;
    }

    String string(String name) throws Problem {
        Object value = map.get(name);
        if (!(value instanceof String) || ((String) value).isEmpty() || ((String) value).length() > MAX_TEXT) {
            throw wrong(name, "a text of 1 to " + MAX_TEXT + " characters");
        }
        return (String) value;
    }

    boolean flag(String name) throws Problem {
        Object value = map.get(name);
        if (!(value instanceof Boolean)) {
            throw wrong(name, "true or false");
        }
        return (Boolean) value;
    }

    long whole(String name, long low, long high) throws Problem {
        Object value = map.get(name);
        if (!(value instanceof Long) || (Long) value < low || (Long) value > high) {
            throw wrong(name, "a whole number from " + low + " to " + high);
        }
        return (Long) value;
    }

    double number(String name) throws Problem {
        return asNumber(map.get(name), name);
    }

    float[] numbers(String name, int count) throws Problem {
        List<?> list = list(name);
        if (list.size() != count) {
            throw wrong(name, count + " numbers");
        }
        float[] numbers = new float[count];
        for (int i = 0; i < count; i++) {
            numbers[i] = (float) asNumber(list.get(i), name);
        }
        return numbers;
    }

    Fields object(String name) throws Problem {
        return of(map.get(name), inside(name));
    }

    List<Fields> objects(String name) throws Problem {
        List<Fields> objects = new ArrayList<>();
        for (Object value : list(name)) {
            objects.add(of(value, inside(name)));
        }
        return Collections.unmodifiableList(objects);
    }

    private List<?> list(String name) throws Problem {
        Object value = map.get(name);
        if (!(value instanceof List)) {
            throw wrong(name, "a list");
        }
        return (List<?>) value;
    }

    private double asNumber(Object value, String name) throws Problem {
        if (!(value instanceof Double) && !(value instanceof Long)) {
            throw wrong(name, "a number");
        }
        return ((Number) value).doubleValue();
    }

    private String inside(String name) {
        return where + "." + name;
    }

    Problem wrong(String name, String expected) {
        Object value = map.get(name);
        String given = value == null ? "missing" : String.valueOf(value);
        String shown = given.length() > 60 ? given.substring(0, 60) + "..." : given;
        return new Problem(Problem.Code.BAD_MANIFEST, inside(name) + " is " + shown + ", not " + expected);
    }
}
