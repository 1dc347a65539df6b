package org.ppghost.core;

import static org.junit.Assert.assertTrue;

import java.awt.geom.Rectangle2D;
import java.util.ArrayList;
import java.util.List;

/**
 * Draws nothing, but fails when something lies outside the sheet or one text on another.
 *
 * <p>Its letters are a little wider than those of Android's Roboto, and Chinese ones as wide as they are high.
 */
final class CheckingPen implements Pen {

    final List<String> texts = new ArrayList<>();
    private final List<Rectangle2D.Float> boxes = new ArrayList<>();
    private final float width;
    private final float height;

    CheckingPen(float width, float height) {
        this.width = width;
        this.height = height;
    }

    @Override
    public float width(String text, float size, boolean isBold) {
        float em = 0;
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            em += c >= 0x2E80 ? 1 : "ilI.,: \u00A0|'".indexOf(c) >= 0 ? 0.3f : "mwMW%".indexOf(c) >= 0 ? 0.9f : 0.6f;
        }
        return em * size * (isBold ? 1.05f : 1);
    }

    @Override
    public void text(String text, float x, float y, float size, boolean isBold, int colour) {
        Rectangle2D.Float box = new Rectangle2D.Float(x, y - 0.8f * size, width(text, size, isBold), 1.05f * size);
        inside(text, box.x, box.y, box.x + box.width, box.y + box.height);
        for (int i = 0; i < boxes.size(); i++) {
            assertTrue("'" + text + "' lies on '" + texts.get(i) + "'", !boxes.get(i).intersects(box));
        }
        texts.add(text);
        boxes.add(box);
    }

    @Override
    public void fill(float left, float top, float right, float bottom, float radius, int colour) {
        inside("a bar", left, top, right, bottom);
        Rectangle2D.Float box = new Rectangle2D.Float(left, top, right - left, bottom - top);
        for (int i = 0; i < boxes.size(); i++) {
            assertTrue("a bar lies on '" + texts.get(i) + "'", !boxes.get(i).intersects(box));
        }
    }

    @Override
    public void picture(Picture picture, float left, float top, float right, float bottom) {
        inside("the picture", left, top, right, bottom);
    }

    private void inside(String what, float left, float top, float right, float bottom) {
        boolean isInside = left >= -0.01f && top >= -0.01f && right <= width + 0.01f && bottom <= height + 0.01f;
        assertTrue("'" + what + "' leaves the sheet", isInside);
    }
}
