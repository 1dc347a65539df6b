package org.ppghost.core;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Files, streams and arrays of bytes. */
public final class Bytes {

    private static final int BUFFER = 1 << 16;

    private Bytes() {}

    /**
     * Returns all bytes of a file.
     *
     * @param limit more bytes than this are an error: a manifest is never that large
     * @throws Problem MISSING_FILE or IO
     */
    public static byte[] read(File file, long limit) throws Problem {
        if (!file.isFile()) {
            throw new Problem(Problem.Code.MISSING_FILE, file.getName());
        }
        if (file.length() > limit) {
            throw new Problem(Problem.Code.IO, file.getName() + ": " + file.length() + " > " + limit + " bytes");
        }
        try (InputStream in = new FileInputStream(file)) {
            ByteArrayOutputStream out = new ByteArrayOutputStream((int) file.length());
            copy(in, out, limit);
            return out.toByteArray();
        } catch (IOException e) {
            throw new Problem(Problem.Code.IO, String.valueOf(e.getMessage()));
        }
    }

    /**
     * Copies a stream to its end or until more than {@code limit} bytes came.
     *
     * @return how many bytes came; more than {@code limit} when the rest was left
     */
    public static long copy(InputStream in, OutputStream out, long limit) throws IOException {
        byte[] buffer = new byte[BUFFER];
        long total = 0;
        for (int n = in.read(buffer); n >= 0 && total <= limit; n = in.read(buffer)) {
            out.write(buffer, 0, n);
            total += n;
        }
        return total;
    }

    /** Returns the SHA-256 of a file as 64 lower case hexadecimal digits. */
    public static String sha256(File file) throws Problem {
        try (InputStream in = new FileInputStream(file)) {
            MessageDigest digest = sha256();
            byte[] buffer = new byte[BUFFER];
            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                digest.update(buffer, 0, n);
            }
            return hex(digest.digest());
        } catch (IOException e) {
            throw new Problem(Problem.Code.IO, String.valueOf(e.getMessage()));
        }
    }

    /** Returns the SHA-256 of bytes as 64 lower case hexadecimal digits. */
    public static String sha256(byte[] bytes) {
        return hex(sha256().digest(bytes));
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java has SHA-256", e);
        }
    }

    private static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte value : bytes) {
            text.append(Character.forDigit(value >> 4 & 15, 16)).append(Character.forDigit(value & 15, 16));
        }
        return text.toString();
    }

    /** Returns float32 little endian as numbers; bytes behind the last whole one are left. */
    public static float[] floats(byte[] bytes) {
        float[] values = new float[bytes.length / 4];
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values);
        return values;
    }

    /** Returns numbers as float32 little endian. */
    public static byte[] bytes(float[] values) {
        ByteBuffer buffer = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        buffer.asFloatBuffer().put(values);
        return buffer.array();
    }

    /** Removes a file, or a folder with all that is in it; what is not there stays so. */
    public static void remove(File file) {
        File[] inside = file.listFiles();
        if (inside != null) {
            for (File each : inside) {
                remove(each);
            }
        }
        // The result is not asked: what could not be removed is found again at the next try.
        file.delete();
    }
}
