package org.ppghost.core;

import java.util.Locale;
import java.util.Random;

/** Prints how long the core takes for a picture of 640 x 480, and for a large one, on this machine's JVM. */
final class PreprocessTime {

    private static final int RUNS = 200;

    private PreprocessTime() {}

    public static void main(String[] arguments) throws Problem {
        measure(640, 480);
        measure(1600, 1200);
    }

    private static void measure(int width, int height) throws Problem {
        int[] pixels = new int[width * height];
        Random random = new Random(1);
        for (int i = 0; i < pixels.length; i++) {
            pixels[i] = random.nextInt();
        }
        Picture picture = new Picture(width, height, pixels);
        Preprocess preprocess =
                new Preprocess(256, 224, 1 / 255f, PreprocessTest.MEAN, PreprocessTest.STD, false);
        long[] times = new long[RUNS];
        for (int i = 0; i < RUNS; i++) {
            long start = System.nanoTime();
            preprocess.normalise(preprocess.see(picture));
            times[i] = System.nanoTime() - start;
        }
        Stats stats = new Stats(times);
        System.out.println(
                String.format(
                        Locale.ROOT,
                        "%d x %d to tensor: first %.1f ms, median of %d %.2f ms, p90 %.2f ms",
                        width,
                        height,
                        times[0] / 1e6,
                        RUNS,
                        stats.median / 1e6,
                        stats.p90 / 1e6));
    }
}
