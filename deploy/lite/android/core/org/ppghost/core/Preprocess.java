package org.ppghost.core;

/**
 * From a picture to the network's input, as training and evaluation do it: resize the shorter side, cut out the
 * centre, normalise, planes of channels. Immutable.
 *
 * <p>Resizing is OpenCV's bilinear filter on 8-bit pixels with its integer weights; the phone's own bitmap scaling is
 * another filter on every device. Source: {@code ppghost.vision}, ops ResizeImage, CropImage, NormalizeImage,
 * ToCHWImage.
 */
public final class Preprocess {

    private static final int WEIGHT_BITS = 11;
    private static final int ONE = 1 << WEIGHT_BITS;

    /** Length of the shorter side after resizing. */
    public final int resizeShort;
    /** Side of the square that the network sees. */
    public final int crop;

    private final float[][] levels;
    private final boolean isBgr;

    /**
     * Makes a preprocessing; a value becomes {@code (level * scale - mean) / std}.
     *
     * @param mean of the input's three channels, in their order
     * @param std of the input's three channels, in their order
     * @param isBgr whether the input's first channel is blue
     */
    public Preprocess(int resizeShort, int crop, float scale, float[] mean, float[] std, boolean isBgr) {
        this.resizeShort = resizeShort;
        this.crop = crop;
        this.isBgr = isBgr;
        levels = new float[3][256];
        for (int channel = 0; channel < 3; channel++) {
            for (int level = 0; level < 256; level++) {
                levels[channel][level] = (level * scale - mean[channel]) / std[channel];
            }
        }
    }

    /** Returns a length after resizing, rounded half to even as Python does. */
    public int resized(int side, int shorter) {
        return (int) Math.rint(side * ((double) resizeShort / shorter));
    }

    /**
     * Returns the square that the network sees, resized and cut out; only its pixels are computed.
     *
     * @throws Problem PICTURE_TOO_SMALL when the crop is larger than the resized picture
     */
    public Picture see(Picture picture) throws Problem {
        int shorter = Math.min(picture.width, picture.height);
        int width = resized(picture.width, shorter);
        int height = resized(picture.height, shorter);
        if (width < crop || height < crop) {
            throw new Problem(Problem.Code.PICTURE_TOO_SMALL, width, height, crop);
        }
        Axis columns = new Axis(picture.width, width, (width - crop) / 2, crop);
        Axis rows = new Axis(picture.height, height, (height - crop) / 2, crop);
        int[] seen = new int[crop * crop];
        int[] upper = new int[crop * 3];
        int[] lower = new int[crop * 3];
        int upperRow = -1;
        int lowerRow = -1;
        for (int y = 0; y < crop; y++) {
            // The lower row of one line is often the upper row of the next.
            if (lowerRow == rows.near[y] && upperRow != rows.near[y]) {
                int[] swapped = upper;
                upper = lower;
                lower = swapped;
                upperRow = lowerRow;
                lowerRow = -1;
            }
            if (upperRow != rows.near[y]) {
                upperRow = rows.near[y];
                resizeRow(picture, upperRow, columns, upper);
            }
            if (lowerRow != rows.far[y]) {
                lowerRow = rows.far[y];
                resizeRow(picture, lowerRow, columns, lower);
            }
            mix(upper, lower, rows.weight[y], seen, y * crop);
        }
        return new Picture(crop, crop, seen);
    }

    /**
     * Returns the network's input: float32 [3, crop, crop], normalised, channels in the network's order.
     *
     * @param seen what {@link #see} returned
     */
    public float[] normalise(Picture seen) {
        int plane = crop * crop;
        float[] tensor = new float[3 * plane];
        float[] reds = levels[isBgr ? 2 : 0];
        float[] greens = levels[1];
        float[] blues = levels[isBgr ? 0 : 2];
        int red = isBgr ? 2 * plane : 0;
        int blue = isBgr ? 0 : 2 * plane;
        for (int i = 0; i < plane; i++) {
            int pixel = seen.pixels[i];
            tensor[red + i] = reds[pixel >> 16 & 255];
            tensor[plane + i] = greens[pixel >> 8 & 255];
            tensor[blue + i] = blues[pixel & 255];
        }
        return tensor;
    }

    private static void resizeRow(Picture picture, int row, Axis columns, int[] out) {
        int start = row * picture.width;
        int[] pixels = picture.pixels;
        for (int x = 0, i = 0; i < out.length; x++, i += 3) {
            int near = pixels[start + columns.near[x]];
            int far = pixels[start + columns.far[x]];
            int b = columns.weight[x];
            int a = ONE - b;
            out[i] = (near >> 16 & 255) * a + (far >> 16 & 255) * b;
            out[i + 1] = (near >> 8 & 255) * a + (far >> 8 & 255) * b;
            out[i + 2] = (near & 255) * a + (far & 255) * b;
        }
    }

    private static void mix(int[] upper, int[] lower, int b, int[] out, int at) {
        int a = ONE - b;
        for (int i = 0, end = upper.length; i < end; i += 3) {
            int red = mixed(upper[i], lower[i], a, b);
            int green = mixed(upper[i + 1], lower[i + 1], a, b);
            int blue = mixed(upper[i + 2], lower[i + 2], a, b);
            out[at++] = 0xFF << 24 | red << 16 | green << 8 | blue;
        }
    }

    /** Returns a level 0 to 255; the shifts keep the products in 32 bits and are those of OpenCV. */
    private static int mixed(int upper, int lower, int a, int b) {
        return ((a * (upper >> 4) >> 16) + (b * (lower >> 4) >> 16) + 2) >> 2;
    }

    /** For each new column or row, the two old ones it lies between, and the weight of the second. */
    private static final class Axis {
        final int[] near;
        final int[] far;
        final int[] weight;

        Axis(int from, int to, int start, int count) {
            near = new int[count];
            far = new int[count];
            weight = new int[count];
            double step = (double) from / to;
            for (int i = 0; i < count; i++) {
                float at = (float) ((start + i + 0.5) * step - 0.5);
                int low = (int) Math.floor(at);
                float share = at - low;
                if (low < 0 || low >= from - 1) {
                    low = low < 0 ? 0 : from - 1;
                    share = 0;
                }
                near[i] = low;
                far[i] = Math.min(low + 1, from - 1);
                weight[i] = (int) Math.rint(share * ONE);
            }
        }
    }
}
