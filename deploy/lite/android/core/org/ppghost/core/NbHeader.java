package org.ppghost.core;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/**
 * The first 26 bytes of a Paddle Lite model (".nb"), read before native code sees the file: the library ends the
 * process when a model is truncated or is none.
 *
 * <p>Little endian: u16 layout, 16 bytes version of the converter up to a NUL, u64 size of the topology; topology and
 * parameters follow. Source: Paddle-Lite lite/model_parser/model_parser.cc, SaveModelNaive.
 */
public final class NbHeader {

    /** Bytes of the header. */
    public static final int SIZE = 26;
    /** The only layout that Paddle Lite 2.6 and later write. */
    public static final int LAYOUT = 2;

    private final String optVersion;
    private final long topologyBytes;

    private NbHeader(String optVersion, long topologyBytes) {
        this.optVersion = optVersion;
        this.topologyBytes = topologyBytes;
    }

    /** Returns the version of the converter, such as "v2.13-rc". */
    public String optVersion() {
        return optVersion;
    }

    /** Returns the size of the topology in bytes. */
    public long topologyBytes() {
        return topologyBytes;
    }

    /**
     * Reads and checks the header of a file.
     *
     * @throws Problem NB_EMPTY, NB_TRUNCATED, NB_FOREIGN, NB_LAYOUT; MISSING_FILE or IO when it cannot be read
     */
    public static NbHeader read(File file) throws Problem {
        if (!file.isFile()) {
            throw new Problem(Problem.Code.MISSING_FILE, file.getName());
        }
        byte[] bytes = new byte[SIZE];
        int count = 0;
        try (InputStream in = new FileInputStream(file)) {
            for (int n = 0; n >= 0 && count < SIZE; n = in.read(bytes, count, SIZE - count)) {
                count += n;
            }
        } catch (IOException e) {
            throw new Problem(Problem.Code.IO, e.getMessage());
        }
        return parse(bytes, count, file.length(), file.getName());
    }

    /**
     * Checks a header.
     *
     * @param bytes the beginning of the file, {@code count} bytes of it
     * @param fileBytes size of the whole file
     * @param name the file's name, for messages
     */
    static NbHeader parse(byte[] bytes, int count, long fileBytes, String name) throws Problem {
        if (fileBytes == 0) {
            throw new Problem(Problem.Code.NB_EMPTY, name);
        }
        ByteBuffer header = ByteBuffer.wrap(bytes, 0, count).order(ByteOrder.LITTLE_ENDIAN);
        if (count < SIZE) {
            throw new Problem(looksForeign(bytes, count) ? Problem.Code.NB_FOREIGN : Problem.Code.NB_TRUNCATED, name);
        }
        String version = version(bytes);
        if (version == null) {
            throw new Problem(Problem.Code.NB_FOREIGN, name);
        }
        int layout = header.getShort(0) & 0xFFFF;
        if (layout != LAYOUT) {
            throw new Problem(Problem.Code.NB_LAYOUT, name, layout, LAYOUT);
        }
        long topology = header.getLong(18);
        if (topology <= 0 || topology > fileBytes - SIZE) {
            throw new Problem(Problem.Code.NB_TRUNCATED, name);
        }
        return new NbHeader(version, topology);
    }

    /**
     * Checks that the library in the app reads this file.
     *
     * @param libraryVersion as the library tells it; null or a text that is no release ("develop:33675c5") cannot be
     *     compared and passes
     * @throws Problem NB_VERSION with both versions
     */
    public void checkVersion(String libraryVersion, String name) throws Problem {
        if (libraryVersion != null && isRelease(libraryVersion) && !libraryVersion.equals(optVersion)) {
            throw new Problem(Problem.Code.NB_VERSION, name, optVersion, libraryVersion);
        }
    }

    private static boolean looksForeign(byte[] bytes, int count) {
        return count >= 4 && (bytes[2] != 'v' || bytes[3] < '0' || bytes[3] > '9');
    }

    /** Returns the text up to the first NUL of the 16 bytes; null when it is not "v" and a digit in plain ASCII. */
    private static String version(byte[] bytes) {
        int end = 2;
        while (end < 18 && bytes[end] != 0) {
            if (bytes[end] <= ' ' || bytes[end] == 127) {
                return null;
            }
            end++;
        }
        String text = new String(bytes, 2, end - 2, StandardCharsets.US_ASCII);
        return isRelease(text) ? text : null;
    }

    private static boolean isRelease(String text) {
        return text.length() >= 2 && text.charAt(0) == 'v' && text.charAt(1) >= '0' && text.charAt(1) <= '9';
    }
}
