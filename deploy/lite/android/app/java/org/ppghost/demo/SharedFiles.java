package org.ppghost.demo;

import android.content.ClipData;
import android.content.ContentProvider;
import android.content.ContentValues;
import android.content.Context;
import android.content.Intent;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileNotFoundException;

/**
 * Hands two files to other apps, and only to those that were given them: the picture that the camera app writes, and
 * the benchmark report that is shared.
 */
public final class SharedFiles extends ContentProvider {

    private static final String CAMERA = "camera.jpg";
    private static final String REPORT = "ppghost-benchmark.json";

    /** Returns the file that the camera app writes to. */
    static File camera(Context context) {
        return new File(context.getCacheDir(), CAMERA);
    }

    /** Returns the file that is shared as the report. */
    static File report(Context context) {
        return new File(context.getCacheDir(), REPORT);
    }

    /** Returns an intent for the camera app, which may write one file for it. */
    static Intent askCamera(String action, String extra) {
        Uri uri = uri(CAMERA);
        Intent intent = new Intent(action).putExtra(extra, uri);
        intent.setClipData(ClipData.newRawUri("", uri));
        return intent.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION | Intent.FLAG_GRANT_WRITE_URI_PERMISSION);
    }

    /** Returns an intent that offers the report to other apps. */
    static Intent shareReport() {
        Uri uri = uri(REPORT);
        Intent intent = new Intent(Intent.ACTION_SEND).setType("application/json").putExtra(Intent.EXTRA_STREAM, uri);
        intent.setClipData(ClipData.newRawUri("", uri));
        return intent.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
    }

    /** Returns the address of the camera's picture. */
    static Uri cameraUri() {
        return uri(CAMERA);
    }

    @Override
    public boolean onCreate() {
        return true;
    }

    @Override
    public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
        boolean isCamera = file(uri).getName().equals(CAMERA);
        return ParcelFileDescriptor.open(file(uri), ParcelFileDescriptor.parseMode(isCamera ? mode : "r"));
    }

    @Override
    public String getType(Uri uri) {
        return CAMERA.equals(uri.getLastPathSegment()) ? "image/jpeg" : "application/json";
    }

    @Override
    public Cursor query(Uri uri, String[] columns, String where, String[] values, String order) {
        String[] names = columns == null ? new String[] {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE} : columns;
        Object[] row = new Object[names.length];
        for (int i = 0; i < names.length; i++) {
            if (names[i].equals(OpenableColumns.DISPLAY_NAME)) {
                row[i] = uri.getLastPathSegment();
            } else if (names[i].equals(OpenableColumns.SIZE)) {
                row[i] = size(uri);
            }
        }
        MatrixCursor cursor = new MatrixCursor(names, 1);
        cursor.addRow(row);
        return cursor;
    }

    @Override
    public Uri insert(Uri uri, ContentValues values) {
        throw new UnsupportedOperationException("only files are handed out");
    }

    @Override
    public int delete(Uri uri, String where, String[] values) {
        throw new UnsupportedOperationException("only files are handed out");
    }

    @Override
    public int update(Uri uri, ContentValues values, String where, String[] args) {
        throw new UnsupportedOperationException("only files are handed out");
    }

    private Long size(Uri uri) {
        try {
            return file(uri).length();
        } catch (FileNotFoundException e) {
            return null;
        }
    }

    private File file(Uri uri) throws FileNotFoundException {
        String name = uri.getLastPathSegment();
        if (CAMERA.equals(name)) {
            return camera(getContext());
        }
        if (REPORT.equals(name)) {
            return report(getContext());
        }
        throw new FileNotFoundException(uri.toString());
    }

    private static Uri uri(String name) {
        return Uri.parse("content://org.ppghost.demo.files/" + name);
    }
}
