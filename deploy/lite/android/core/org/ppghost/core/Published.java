package org.ppghost.core;

/**
 * What PaddleClas published for a Snapdragon 855: milliseconds of one picture of 224 x 224, 1, 2 and 4 threads.
 *
 * <p>The version of Paddle Lite is unknown. The last two rows are one network; they differ by up to 45 %. Source:
 * PaddleClas docs/zh_CN/models/ImageNet1k/Mobile.md.
 */
public final class Published {

    /** Numbers of threads of the columns. */
    public static final int[] THREADS = {1, 2, 4};

    private static final Published[] ROWS = {
        new Published("GhostNet_x0_5", 10, 5.28, 3.95, 3.29),
        new Published("GhostNet_x1_0", 20, 12.89, 8.66, 6.72),
        new Published("GhostNet_x1_3", 29, 19.16, 12.25, 9.40),
        new Published("GhostNet_x1_3_ssld", 29, 19.16, 17.85, 10.18),
    };

    /** Name of the model. */
    public final String model;
    /** Size of the converted model. */
    public final int megabytes;

    private final double[] milliseconds;

    private Published(String model, int megabytes, double... milliseconds) {
        this.model = model;
        this.megabytes = megabytes;
        this.milliseconds = milliseconds;
    }

    /** Returns the rows in their published order. */
    public static Published[] rows() {
        return ROWS.clone();
    }

    /** Returns the latency for {@code THREADS[column]} threads in milliseconds. */
    public double milliseconds(int column) {
        return milliseconds[column];
    }
}
