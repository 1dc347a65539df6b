package org.ppghost.demo;

import android.content.Context;
import android.content.res.Configuration;
import android.graphics.Canvas;
import android.util.AttributeSet;
import android.view.View;
import org.ppghost.core.Look;
import org.ppghost.core.Sheet;

/** Shows a sheet in the width that it gets, as high as it needs to be. */
public final class SheetView extends View {

    private final CanvasPen pen = new CanvasPen();
    private final float density;
    private final Look look;
    private Sheet sheet;

    /** Makes the view of a layout. */
    public SheetView(Context context, AttributeSet attributes) {
        super(context, attributes);
        Configuration configuration = getResources().getConfiguration();
        density = getResources().getDisplayMetrics().density;
        look = Look.of(getResources().getBoolean(R.bool.is_dark), configuration.fontScale);
    }

    /** Shows another sheet. */
    void show(Sheet shown) {
        sheet = shown;
        setVisibility(VISIBLE);
        setContentDescription(shown.describe());
        requestLayout();
        invalidate();
    }

    @Override
    protected void onMeasure(int widthSpec, int heightSpec) {
        int width = MeasureSpec.getSize(widthSpec);
        float height = sheet == null ? 0 : sheet.measure(pen, look, width / density);
        setMeasuredDimension(width, (int) Math.ceil(height * density));
    }

    @Override
    protected void onDraw(Canvas canvas) {
        if (sheet != null) {
            canvas.save();
            canvas.scale(density, density);
            pen.onto(canvas);
            sheet.draw(pen, look, getWidth() / density);
            canvas.restore();
        }
    }
}
