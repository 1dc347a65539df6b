package org.ppghost.core;

import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.font.FontRenderContext;
import java.awt.geom.Rectangle2D;
import java.awt.geom.RoundRectangle2D;
import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import javax.imageio.ImageIO;

/** Draws sheets into PNG files, so that they can be looked at without a phone; needs a font on this machine. */
final class ImagePen implements Pen {

    private static final FontRenderContext METRICS = new FontRenderContext(null, true, true);

    private static final Map<Float, Font> FONTS = new HashMap<>();

    private final BufferedImage image;
    private final Graphics2D graphics;

    ImagePen(float width, float height, float scale, float margin, int ground) {
        image =
                new BufferedImage(
                        Math.round((width + 2 * margin) * scale),
                        Math.round((height + 2 * margin) * scale),
                        BufferedImage.TYPE_INT_RGB);
        graphics = image.createGraphics();
        graphics.setColor(new Color(ground));
        graphics.fillRect(0, 0, image.getWidth(), image.getHeight());
        graphics.setRenderingHint(RenderingHints.KEY_ANTIALIASING, RenderingHints.VALUE_ANTIALIAS_ON);
        graphics.setRenderingHint(RenderingHints.KEY_TEXT_ANTIALIASING, RenderingHints.VALUE_TEXT_ANTIALIAS_ON);
        graphics.setRenderingHint(RenderingHints.KEY_FRACTIONALMETRICS, RenderingHints.VALUE_FRACTIONALMETRICS_ON);
        graphics.setRenderingHint(RenderingHints.KEY_INTERPOLATION, RenderingHints.VALUE_INTERPOLATION_BILINEAR);
        graphics.scale(scale, scale);
        graphics.translate(margin, margin);
    }

    /** Returns whether this machine has letters to draw with. */
    static boolean isPossible() {
        try {
            return new Font(Font.SANS_SERIF, Font.PLAIN, 10).canDisplay('a');
        } catch (LinkageError | RuntimeException e) {
            // A headless Java without fontconfig fails in one of several ways.
            return false;
        }
    }

    void write(File file) throws IOException {
        ImageIO.write(image, "png", file);
    }

    @Override
    public float width(String text, float size, boolean isBold) {
        return (float) font(size, isBold).getStringBounds(text, METRICS).getWidth();
    }

    @Override
    public void text(String text, float x, float y, float size, boolean isBold, int colour) {
        graphics.setColor(new Color(colour));
        graphics.setFont(font(size, isBold));
        graphics.drawString(text, x, y);
    }

    @Override
    public void fill(float left, float top, float right, float bottom, float radius, int colour) {
        graphics.setColor(new Color(colour));
        if (radius == 0) {
            graphics.fill(new Rectangle2D.Float(left, top, right - left, bottom - top));
        } else {
            graphics.fill(new RoundRectangle2D.Float(left, top, right - left, bottom - top, 2 * radius, 2 * radius));
        }
    }

    @Override
    public void picture(Picture picture, float left, float top, float right, float bottom) {
        BufferedImage drawn = new BufferedImage(picture.width, picture.height, BufferedImage.TYPE_INT_RGB);
        drawn.setRGB(0, 0, picture.width, picture.height, picture.pixels, 0, picture.width);
        java.awt.geom.AffineTransform place = new java.awt.geom.AffineTransform();
        place.translate(left, top);
        place.scale((right - left) / picture.width, (bottom - top) / picture.height);
        graphics.drawImage(drawn, place, null);
    }

    /** Returns a font; kept, since making one takes longer than drawing with it. */
    private static Font font(float size, boolean isBold) {
        Float key = isBold ? -size : size;
        Font font = FONTS.get(key);
        if (font == null) {
            font = new Font(Font.SANS_SERIF, isBold ? Font.BOLD : Font.PLAIN, 1).deriveFont(size);
            FONTS.put(key, font);
        }
        return font;
    }
}
