package org.ppghost.core;

/**
 * What a sheet is drawn with: on the phone an android.graphics.Canvas, in tests a java.awt picture.
 *
 * <p>All lengths are in dp, text sizes too; colours are 0xAARRGGBB.
 */
public interface Pen {

    /** Returns how wide a text is. */
    float width(String text, float size, boolean isBold);

    /** Draws a text that begins at x and stands on the baseline y. */
    void text(String text, float x, float y, float size, boolean isBold, int colour);

    /** Fills a rectangle with round corners. */
    void fill(float left, float top, float right, float bottom, float radius, int colour);

    /** Draws a picture into a rectangle. */
    void picture(Picture picture, float left, float top, float right, float bottom);
}
