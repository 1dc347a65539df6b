package org.ppghost.core;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.List;
import java.util.Map;

/** The files that Python wrote: manifest.json names them and says what Python computed. */
final class Golden {

    static final File FOLDER = new File(System.getProperty("golden"));

    private Golden() {}

    static Map<?, ?> manifest() throws Exception {
        return (Map<?, ?>) Json.read(new String(bytes("manifest.json"), StandardCharsets.UTF_8));
    }

    static List<?> list(String name) throws Exception {
        return (List<?>) manifest().get(name);
    }

    static byte[] bytes(String name) throws IOException {
        return Files.readAllBytes(new File(FOLDER, name).toPath());
    }

    static int whole(Map<?, ?> map, String name) {
        return ((Long) map.get(name)).intValue();
    }

    static double number(Object value) {
        return ((Number) value).doubleValue();
    }

    static float[] floats(Object list) {
        List<?> values = (List<?>) list;
        float[] floats = new float[values.size()];
        for (int i = 0; i < floats.length; i++) {
            floats[i] = (float) number(values.get(i));
        }
        return floats;
    }

    /** Reads raw RGB, three bytes a pixel. */
    static Picture picture(String name, int width, int height) throws IOException {
        byte[] rgb = bytes(name);
        int[] pixels = new int[width * height];
        for (int i = 0; i < pixels.length; i++) {
            pixels[i] = (rgb[3 * i] & 255) << 16 | (rgb[3 * i + 1] & 255) << 8 | rgb[3 * i + 2] & 255;
        }
        return new Picture(width, height, pixels);
    }
}
