package org.ppghost.core;

import java.util.Arrays;

/** Statistics of measured times in nanoseconds. Immutable. */
public final class Stats {

    /** The middle, or the mean of the two middle ones. */
    public final double median;
    /** The mean. */
    public final double average;
    /** The time that 90 of 100 runs do not exceed, by nearest rank. */
    public final long p90;
    /** The shortest. */
    public final long min;
    /** The longest. */
    public final long max;

    /** Computes the statistics of at least one time. */
    public Stats(long[] times) {
        long[] sorted = times.clone();
        Arrays.sort(sorted);
        int n = sorted.length;
        double sum = 0;
        for (long time : sorted) {
            sum += time;
        }
        min = sorted[0];
        max = sorted[n - 1];
        average = sum / n;
        median = n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0;
        // Whole numbers: 0.9 * 10 is a little more than 9 in binary.
        p90 = sorted[(9 * n + 9) / 10 - 1];
    }
}
