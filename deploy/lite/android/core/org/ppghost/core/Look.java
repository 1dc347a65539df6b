package org.ppghost.core;

/** Colours and text sizes of a sheet; light and dark. Immutable. */
public final class Look {

    /** Between unrelated things; half of it between related ones. The grid is 8 dp. */
    public static final float GAP = 16;
    /** Radius of a bar's and a picture's corners. */
    public static final float RADIUS = 4;

    /** Ground on which the sheet lies. */
    public final int ground;
    /** Text that matters. */
    public final int strong;
    /** Text beside it. */
    public final int quiet;
    /** Bars and what is ours. */
    public final int accent;
    /** What a bar could fill. */
    public final int track;
    /** Size of a headline in dp. */
    public final float head;
    /** Size of text in dp. */
    public final float body;
    /** Size of small text in dp. */
    public final float small;

    private Look(int ground, int strong, int quiet, int accent, int track, float fontScale) {
        this.ground = ground;
        this.strong = strong;
        this.quiet = quiet;
        this.accent = accent;
        this.track = track;
        head = 20 * fontScale;
        body = 16 * fontScale;
        small = 13 * fontScale;
    }

    /**
     * Returns the look for a theme.
     *
     * @param fontScale how much larger than usual the user wants text, 1 as it is
     */
    public static Look of(boolean isDark, float fontScale) {
        return isDark
                ? new Look(0xFF121416, 0xFFECEFF1, 0xFFA9B4BA, 0xFF4DB6AC, 0xFF2B3236, fontScale)
                : new Look(0xFFFAFAFA, 0xFF1B2225, 0xFF566369, 0xFF00796B, 0xFFDDE4E6, fontScale);
    }
}
