package org.ppghost.demo;

import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.graphics.RectF;
import android.graphics.Typeface;
import org.ppghost.core.Pen;
import org.ppghost.core.Picture;

/** Draws sheets on Android's canvas, which is scaled so that a unit is a dp. */
final class CanvasPen implements Pen {

    private final Paint paint = new Paint(Paint.ANTI_ALIAS_FLAG | Paint.FILTER_BITMAP_FLAG | Paint.SUBPIXEL_TEXT_FLAG);
    private final RectF box = new RectF();
    private Canvas canvas;
    private Picture drawn;
    private Bitmap bitmap;

    void onto(Canvas drawnOn) {
        canvas = drawnOn;
    }

    @Override
    public float width(String text, float size, boolean isBold) {
        setFont(size, isBold);
        return paint.measureText(text);
    }

    @Override
    public void text(String text, float x, float y, float size, boolean isBold, int colour) {
        setFont(size, isBold);
        paint.setColor(colour);
        canvas.drawText(text, x, y, paint);
    }

    @Override
    public void fill(float left, float top, float right, float bottom, float radius, int colour) {
        box.set(left, top, right, bottom);
        paint.setColor(colour);
        canvas.drawRoundRect(box, radius, radius, paint);
    }

    @Override
    public void picture(Picture picture, float left, float top, float right, float bottom) {
        if (picture != drawn) {
            bitmap = Bitmap.createBitmap(picture.pixels, picture.width, picture.height, Bitmap.Config.ARGB_8888);
            drawn = picture;
        }
        box.set(left, top, right, bottom);
        paint.setColor(0xFF000000);
        canvas.drawBitmap(bitmap, null, box, paint);
    }

    private void setFont(float size, boolean isBold) {
        paint.setTextSize(size);
        paint.setTypeface(isBold ? Typeface.DEFAULT_BOLD : Typeface.DEFAULT);
    }
}
