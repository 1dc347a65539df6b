package org.ppghost.core;

/**
 * How a picture must be turned: the EXIF orientation of a JPEG file, and its arithmetic.
 *
 * <p>Android's own reader takes only paths before API 24, and a document has none. Source: CIPA DC-008 (Exif 2.32),
 * sections 4.5 and 4.6.4 A, tag 0x0112.
 */
public final class Orientation {

    /** How many bytes of a file are enough for {@link #read}: APP1 is among the first segments. */
    public static final int ENOUGH_BYTES = 256 * 1024;

    private static final int TAG = 0x0112;
    private static final int SHORT = 3;

    private final byte[] bytes;
    private final int end;
    private boolean isLittle;

    private Orientation(byte[] bytes, int end) {
        this.bytes = bytes;
        this.end = end;
    }

    /**
     * Returns the orientation 1 to 8 of a file; 1, "as it is", for all that is no JPEG or has no sound EXIF.
     *
     * @param bytes the beginning of the file
     * @param count how many bytes of it are filled
     */
    public static int read(byte[] bytes, int count) {
        return new Orientation(bytes, Math.min(count, bytes.length)).find();
    }

    /** Returns whether width and height change places. */
    public static boolean swapsSides(int orientation) {
        return orientation >= 5 && orientation <= 8;
    }

    /**
     * Returns a picture turned as its orientation says.
     *
     * @param orientation 1 to 8; others leave it as it is
     */
    public static Picture apply(Picture picture, int orientation) {
        if (orientation <= 1 || orientation > 8) {
            return picture;
        }
        boolean swaps = swapsSides(orientation);
        int width = swaps ? picture.height : picture.width;
        int height = swaps ? picture.width : picture.height;
        boolean fromRight = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
        boolean fromBottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
        int[] pixels = new int[width * height];
        for (int y = 0, i = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                int column = swaps ? y : x;
                int row = swaps ? x : y;
                column = fromRight ? picture.width - 1 - column : column;
                row = fromBottom ? picture.height - 1 - row : row;
                pixels[i++] = picture.pixels[row * picture.width + column];
            }
        }
        return new Picture(width, height, pixels);
    }

    private int find() {
        if (end < 4 || big16(0) != 0xFFD8) {
            return 1;
        }
        for (int at = 2; at + 4 <= end && bytes[at] == (byte) 0xFF; ) {
            int marker = bytes[at + 1] & 255;
            int length = big16(at + 2);
            if (marker == 0xE1 && isExif(at + 4)) {
                return inTiff(at + 10, Math.min(end, at + 2 + length));
            }
            if (marker == 0xDA || marker == 0xD9 || length < 2) {
                return 1;
            }
            at += 2 + length;
        }
        return 1;
    }

    private boolean isExif(int at) {
        return at + 14 <= end && big16(at) == ('E' << 8 | 'x') && big16(at + 2) == ('i' << 8 | 'f');
    }

    private int inTiff(int start, int limit) {
        isLittle = bytes[start] == 'I';
        long first = word32(start + 4);
        if (word16(start + 2) != 42 || first < 8 || first > limit - start - 2) {
            return 1;
        }
        int at = start + (int) first;
        int entries = word16(at);
        for (int entry = at + 2; entries > 0 && entry + 12 <= limit; entry += 12, entries--) {
            if (word16(entry) == TAG && word16(entry + 2) == SHORT) {
                int value = word16(entry + 8);
                return value >= 1 && value <= 8 ? value : 1;
            }
        }
        return 1;
    }

    private int big16(int at) {
        return (bytes[at] & 255) << 8 | bytes[at + 1] & 255;
    }

    private int word16(int at) {
        int big = big16(at);
        return isLittle ? (big & 255) << 8 | big >> 8 : big;
    }

    private long word32(int at) {
        long first = word16(at);
        long second = word16(at + 2);
        return isLittle ? second << 16 | first : first << 16 | second;
    }
}
