package org.ppghost.core;

/** How much of a large picture is decoded. */
public final class Decoding {

    /** More pixels than this are never decoded; they are held up to three times, at four bytes each. */
    public static final long MAX_PIXELS = 4L * 1000 * 1000;

    private Decoding() {}

    /**
     * Returns by which power of two to subsample while decoding.
     *
     * <p>The shorter side stays at least twice {@code resizeShort}, so that resizing still has detail to choose from;
     * a picture of 100 megapixels becomes one that fits into a phone's memory.
     *
     * @param width of the file's picture
     * @param height of the file's picture
     * @return 1, 2, 4, ...
     */
    public static int sampleSize(int width, int height, int resizeShort) {
        int sample = 1;
        int shorter = Math.min(width, height);
        // The second test is for strips: a picture of 300 x 300,000 has a short side that is small already.
        while (shorter / (sample * 2) >= 2 * resizeShort
                || (long) (width / sample) * (height / sample) > MAX_PIXELS) {
            sample *= 2;
        }
        return sample;
    }
}
