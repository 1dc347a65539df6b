package org.ppghost.core;

/** A decoded picture: one int for each pixel, row by row, 8 bits each of alpha (not asked), red, green, blue. */
public final class Picture {

    /** Pixels in a row. */
    public final int width;
    /** Rows. */
    public final int height;
    /** The pixels, {@code width * height} of them; not copied, do not write into it. */
    public final int[] pixels;

    /**
     * Makes a picture of pixels.
     *
     * @throws IllegalArgumentException the number of pixels is another one
     */
    public Picture(int width, int height, int[] pixels) {
        if (width < 1 || height < 1 || pixels.length != (long) width * height) {
            throw new IllegalArgumentException(pixels.length + " pixels for " + width + " x " + height);
        }
        this.width = width;
        this.height = height;
        this.pixels = pixels;
    }
}
