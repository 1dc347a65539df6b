package org.ppghost.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.fail;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.Test;

public final class JsonTest {

    @Test
    public void whatPythonWroteIsReadAndWrittenTheSame() throws Exception {
        Object value = Golden.manifest().get("json");
        assertEquals(value, Json.read(Json.write(value)));
        Map<?, ?> map = (Map<?, ?>) value;
        assertEquals("\u5C71\u7F8A \"\\/\b\f\n\r\t\u0001 \uD83D\uDC11", map.get("text"));
        assertEquals(Long.MAX_VALUE, map.get("long"));
        assertEquals(-1.5e-7, map.get("double"));
        assertNull(map.get("null"));
        assertEquals(Arrays.asList(true, false), map.get("flags"));
    }

    @Test
    public void whatIsWrittenIsReadTheSame() throws Exception {
        Random random = new Random(11);
        for (int i = 0; i < 2000; i++) {
            Object value = random(random, 4);
            assertEquals(value, Json.read(Json.write(value)));
        }
    }

    private static Object random(Random random, int depth) {
        switch (random.nextInt(depth > 0 ? 7 : 5)) {
            case 0:
                return null;
            case 1:
                return random.nextBoolean();
            case 2:
                return random.nextLong();
            case 3:
                return random.nextGaussian() * Math.pow(10, random.nextInt(40) - 20);
            case 4:
                return randomText(random);
            case 5:
                List<Object> list = new ArrayList<>();
                for (int n = random.nextInt(5); n > 0; n--) {
                    list.add(random(random, depth - 1));
                }
                return list;
            default:
                Map<String, Object> map = new LinkedHashMap<>();
                for (int n = random.nextInt(5); n > 0; n--) {
                    map.put(randomText(random), random(random, depth - 1));
                }
                return map;
        }
    }

    private static String randomText(Random random) {
        StringBuilder text = new StringBuilder();
        for (int n = random.nextInt(8); n > 0; n--) {
            text.append((char) random.nextInt(random.nextBoolean() ? 128 : 65536));
        }
        return text.toString();
    }

    @Test
    public void whatIsNoJsonIsRefusedWithItsLine() {
        String[] bad = {
            "", "{", "[1,]", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{a:1}", "[1] 2", "nul", "NaN", "01", "1.", "+1", ".5", "1e",
            "\"a", "\"\\x\"", "\"\\u12g4\"", "\"\n\"", "'a'", "{\"a\":1,\"a\":2}", "1e999", "99999999999999999999", "[1 2]",
        };
        for (String text : bad) {
            try {
                Json.read(text);
                fail(text);
            } catch (Problem problem) {
                assertEquals(text, Problem.Code.BAD_MANIFEST, problem.code());
            }
        }
    }

    @Test
    public void deepNestingIsRefusedNotRecursedInto() {
        char[] deep = new char[100000];
        Arrays.fill(deep, '[');
        try {
            Json.read(new String(deep));
            fail("100,000 levels");
        } catch (Problem problem) {
            assertEquals(Problem.Code.BAD_MANIFEST, problem.code());
        }
    }

    @Test
    public void numbersThatJsonLacksAreNotWritten() {
        for (double number : new double[] {Double.NaN, Double.POSITIVE_INFINITY}) {
            try {
                Json.write(number);
                fail("" + number);
            } catch (IllegalArgumentException expected) {
                assertEquals("JSON has no " + number, expected.getMessage());
            }
        }
    }
}
