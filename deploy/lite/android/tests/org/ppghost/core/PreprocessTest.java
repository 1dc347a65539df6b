package org.ppghost.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.util.List;
import java.util.Map;
import org.junit.Test;

public final class PreprocessTest {

    static final float[] MEAN = {0.485f, 0.456f, 0.406f};
    static final float[] STD = {0.229f, 0.224f, 0.225f};

    @Test
    public void picturesBecomeThePythonTensor() throws Exception {
        List<?> cases = Golden.list("pictures");
        assertTrue("no pictures", cases.size() > 0);
        for (Object each : cases) {
            compare((Map<?, ?>) each);
        }
    }

    private static void compare(Map<?, ?> golden) throws Exception {
        String name = (String) golden.get("rgb");
        float[] std = Golden.floats(golden.get("std"));
        Preprocess preprocess =
                new Preprocess(
                        Golden.whole(golden, "resize_short"),
                        Golden.whole(golden, "crop"),
                        (float) Golden.number(golden.get("scale")),
                        Golden.floats(golden.get("mean")),
                        std,
                        false);
        Picture picture = Golden.picture(name, Golden.whole(golden, "width"), Golden.whole(golden, "height"));
        float[] tensor = preprocess.normalise(preprocess.see(picture));
        float[] expected = Bytes.floats(Golden.bytes((String) golden.get("tensor")));
        assertEquals(name, expected.length, tensor.length);
        int plane = tensor.length / 3;
        double most = 0;
        for (int i = 0; i < tensor.length; i++) {
            most = Math.max(most, Math.abs(tensor[i] - expected[i]) * std[i / plane] * 255);
        }
        assertTrue(name + " is up to " + most + " levels off", most <= 1.001);
    }

    @Test
    public void aPictureOfTheRightSizeIsNotResampled() throws Exception {
        int[] pixels = new int[8 * 8];
        for (int i = 0; i < pixels.length; i++) {
            pixels[i] = 0xFF000000 | i * 0x030201;
        }
        Picture seen = new Preprocess(8, 8, 1, MEAN, STD, false).see(new Picture(8, 8, pixels));
        assertArrayEquals(pixels, seen.pixels);
    }

    @Test
    public void blueComesFirstWhereTheNetworkWantsIt() throws Exception {
        Picture red = new Picture(1, 1, new int[] {0xFFFF0000});
        float[] zero = {0, 0, 0};
        float[] one = {1, 1, 1};
        float[] rgb = new Preprocess(1, 1, 1, zero, one, false).normalise(red);
        float[] bgr = new Preprocess(1, 1, 1, zero, one, true).normalise(red);
        assertArrayEquals(new float[] {255, 0, 0}, rgb, 0);
        assertArrayEquals(new float[] {0, 0, 255}, bgr, 0);
    }

    @Test
    public void sidesAreRoundedHalfToEven() {
        Preprocess preprocess = new Preprocess(2, 2, 1, MEAN, STD, false);
        assertEquals(2, preprocess.resized(5, 4));
        assertEquals(4, preprocess.resized(7, 4));
    }

    @Test
    public void aCropThatDoesNotFitIsRefused() {
        try {
            new Preprocess(4, 8, 1, MEAN, STD, false).see(new Picture(9, 6, new int[54]));
            fail("a crop of 8 out of 6 x 4");
        } catch (Problem problem) {
            assertEquals(Problem.Code.PICTURE_TOO_SMALL, problem.code());
            assertArrayEquals(new String[] {"6", "4", "8"}, problem.words());
        }
    }

    @Test
    public void hugePicturesAreSubsampled() {
        assertEquals(1, Decoding.sampleSize(640, 480, 256));
        assertEquals(1, Decoding.sampleSize(1600, 1023, 256));
        assertEquals(2, Decoding.sampleSize(1600, 1024, 256));
        assertEquals(16, Decoding.sampleSize(12000, 9000, 256));
        int sample = Decoding.sampleSize(300, 400000, 256);
        assertTrue((300L / sample) * (400000L / sample) <= Decoding.MAX_PIXELS);
    }
}
