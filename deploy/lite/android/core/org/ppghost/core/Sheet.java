package org.ppghost.core;

import java.util.ArrayList;
import java.util.List;

/** A drawing that flows into a width: the same code measures it and draws it. */
public abstract class Sheet {

    /** Share of a text's size that its letters rise above the baseline, and the height of a line; both are generous. */
    private static final float RISE = 1.0f;

    private static final float LINE = 1.4f;
    private static final String ELLIPSIS = "\u2026";

    /** What it is drawn with; null while nothing is drawn, only measured. */
    private Pen pen;

    private Pen ruler;
    private Look look;

    /** Returns the height in dp that the sheet needs in a width. */
    public final float measure(Pen ruler, Look look, float width) {
        this.pen = null;
        this.ruler = ruler;
        this.look = look;
        return flow(width);
    }

    /** Draws the sheet into a width, from (0, 0) on. */
    public final void draw(Pen pen, Look look, float width) {
        this.pen = pen;
        this.ruler = pen;
        this.look = look;
        flow(width);
    }

    /** Returns what the sheet shows in words, for those who have it read to them. */
    public abstract String describe();

    /** Lays the sheet out, drawing on the way, and returns its height. */
    abstract float flow(float width);

    final Look look() {
        return look;
    }

    final float textWidth(String text, float size, boolean isBold) {
        return ruler.width(text, size, isBold);
    }

    /** Draws one line below y, cut with an ellipsis where it is too wide; returns the y below it. */
    final float line(String text, float x, float y, float width, float size, boolean isBold, int colour) {
        put(cut(text, width, size, isBold), x, y, size, isBold, colour);
        return y + size * LINE;
    }

    /** Draws one line that ends at {@code right}; returns the y below it. */
    final float lineRight(String text, float right, float y, float size, boolean isBold, int colour) {
        put(text, right - textWidth(text, size, isBold), y, size, isBold, colour);
        return y + size * LINE;
    }

    /** Draws a text in as many lines as it needs, at most {@code most}; returns the y below it. */
    final float paragraph(
            String text, float x, float y, float width, float size, boolean isBold, int colour, int most) {
        List<String> lines = wrap(text, width, size, isBold);
        float below = y;
        for (int i = 0; i < Math.min(most, lines.size()); i++) {
            boolean isCut = i == most - 1 && lines.size() > most;
            String shown = isCut ? lines.get(i) + ELLIPSIS : lines.get(i);
            below = line(shown, x, below, width, size, isBold, colour);
        }
        return below;
    }

    final void fill(float left, float top, float right, float bottom, float radius, int colour) {
        if (pen != null) {
            pen.fill(left, top, right, bottom, radius, colour);
        }
    }

    final void picture(Picture picture, float left, float top, float side) {
        if (pen != null) {
            pen.picture(picture, left, top, left + side, top + side);
        }
    }

    private void put(String text, float x, float y, float size, boolean isBold, int colour) {
        if (pen != null) {
            pen.text(text, x, y + size * (RISE + (LINE - RISE) / 4), size, isBold, colour);
        }
    }

    private String cut(String text, float width, float size, boolean isBold) {
        if (textWidth(text, size, isBold) <= width) {
            return text;
        }
        int end = text.endsWith(ELLIPSIS) ? text.length() - 1 : text.length();
        while (end > 0 && textWidth(text.substring(0, end) + ELLIPSIS, size, isBold) > width) {
            end -= end > 1 && Character.isLowSurrogate(text.charAt(end - 1)) ? 2 : 1;
        }
        return text.substring(0, end) + ELLIPSIS;
    }

    /** Breaks a text at spaces, and anywhere between Chinese characters or where a word is wider than the line. */
    private List<String> wrap(String text, float width, float size, boolean isBold) {
        List<String> lines = new ArrayList<>();
        int start = 0;
        int lastBreak = 0;
        for (int i = 0; i < text.length(); i++) {
            if (i > start && mayBreakBefore(text, i)) {
                lastBreak = i;
            }
            if (i > start && textWidth(text.substring(start, i + 1).trim(), size, isBold) > width) {
                int end = lastBreak > start ? lastBreak : i;
                lines.add(text.substring(start, end).trim());
                start = end;
            }
        }
        lines.add(text.substring(start).trim());
        return lines;
    }

    private static boolean mayBreakBefore(String text, int i) {
        char before = text.charAt(i - 1);
        boolean isAfterWide = before >= 0x2E80 && !Character.isSurrogate(before);
        boolean isClosing = "\u3002\uFF0C\u3001\uFF1B\uFF1A\uFF09\uFF01\uFF1F".indexOf(text.charAt(i)) >= 0;
        return before == ' ' || isAfterWide && !isClosing;
    }
}
