package org.ppghost.demo;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.net.Uri;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import org.ppghost.core.Decoding;
import org.ppghost.core.Orientation;
import org.ppghost.core.Picture;
import org.ppghost.core.Problem;

/** Decodes pictures with the phone's decoders: JPEG, PNG, WebP, and HEIC where Android has it. */
final class Pictures {

    /** First part of the path of a picture that is part of the app. */
    private static final String ASSETS = "/android_asset/";

    private Pictures() {}

    /** Returns the address of a sample that is part of the app. */
    static Uri sample(String name) {
        return Uri.parse("file://" + ASSETS + "samples/" + Uri.encode(name));
    }

    /**
     * Decodes a picture upright; a large one is subsampled while it is decoded.
     *
     * @throws Problem NO_PICTURE, NO_MEMORY, IO
     */
    static Picture decode(Context context, Uri uri, int resizeShort) throws Problem {
        try {
            BitmapFactory.Options options = new BitmapFactory.Options();
            options.inJustDecodeBounds = true;
            decode(context, uri, options);
            if (options.outWidth < 1 || options.outHeight < 1) {
                throw new Problem(Problem.Code.NO_PICTURE);
            }
            options.inJustDecodeBounds = false;
            options.inSampleSize = Decoding.sampleSize(options.outWidth, options.outHeight, resizeShort);
            options.inPreferredConfig = Bitmap.Config.ARGB_8888;
            Bitmap bitmap = decode(context, uri, options);
            if (bitmap == null) {
                throw new Problem(Problem.Code.NO_PICTURE);
            }
            return Orientation.apply(toPicture(bitmap), orientation(context, uri));
        } catch (FileNotFoundException | RuntimeException e) {
            // RuntimeException: what goes wrong in the app that has the picture arrives here, such as a
            // SecurityException when it has taken its permission back.
            throw new Problem(Problem.Code.IO, String.valueOf(e.getMessage()));
        } catch (IOException e) {
            throw new Problem(Problem.Code.NO_PICTURE);
        } catch (OutOfMemoryError e) {
            throw new Problem(Problem.Code.NO_MEMORY);
        }
    }

    private static Bitmap decode(Context context, Uri uri, BitmapFactory.Options options) throws IOException {
        try (InputStream in = open(context, uri)) {
            return BitmapFactory.decodeStream(in, null, options);
        }
    }

    private static int orientation(Context context, Uri uri) throws IOException {
        byte[] head = new byte[Orientation.ENOUGH_BYTES];
        int count = 0;
        try (InputStream in = open(context, uri)) {
            for (int n = 0; n >= 0 && count < head.length; n = in.read(head, count, head.length - count)) {
                count += n;
            }
        }
        return Orientation.read(head, count);
    }

    private static InputStream open(Context context, Uri uri) throws IOException {
        String path = String.valueOf(uri.getPath());
        if ("file".equals(uri.getScheme()) && path.startsWith(ASSETS)) {
            return context.getAssets().open(path.substring(ASSETS.length()));
        }
        if (!"content".equals(uri.getScheme())) {
            // Another app must not make this one read its own files.
            throw new FileNotFoundException(uri.toString());
        }
        InputStream in = context.getContentResolver().openInputStream(uri);
        if (in == null) {
            throw new FileNotFoundException(uri.toString());
        }
        return in;
    }

    private static Picture toPicture(Bitmap bitmap) {
        int width = bitmap.getWidth();
        int height = bitmap.getHeight();
        int[] pixels = new int[width * height];
        bitmap.getPixels(pixels, 0, width, 0, 0, width, height);
        bitmap.recycle();
        return new Picture(width, height, pixels);
    }
}
