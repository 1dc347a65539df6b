package org.ppghost.core;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.List;
import java.util.zip.ZipEntry;
import java.util.zip.ZipException;
import java.util.zip.ZipInputStream;

/**
 * Brings a model folder onto the phone: out of a zip archive or out of any set of files.
 *
 * <p>All is written into a staging folder, checked there, and put into its place by one rename; whatever fails leaves
 * the models as they were. A zip archive may come from anywhere, so no name in it is believed.
 */
public class ModelImport {

    private static final String STAGING = ".import";
    private static final long MEGABYTE = 1L << 20;
    private static final long MAX_BYTES = 1024 * MEGABYTE;
    private static final int MAX_FILES = 200;
    private static final long SPARE_BYTES = 8 * MEGABYTE;

    private final File models;
    private final String abi;
    private final File staging;

    /** Where the files of a folder come from. */
    public interface Source {
        /** Returns the stream of a file, to be closed by the caller; null when there is no such file. */
        InputStream open(String name) throws IOException;
    }

    /**
     * Prepares an import.
     *
     * @param models the folder that holds all model folders
     * @param abi of the phone; only forms that it can run are kept
     */
    public ModelImport(File models, String abi) {
        this.models = models;
        this.abi = abi;
        staging = new File(models, STAGING);
    }

    /**
     * Imports a zip archive whose files lie at its top or in one folder.
     *
     * @param in the archive; closed afterwards
     * @return the new model folder
     * @throws Problem BAD_ZIP, ZIP_ESCAPE, ZIP_TOO_LARGE, NO_SPACE, IO, or what is wrong with the model
     */
    public ModelFolder fromZip(InputStream in) throws Problem {
        begin();
        try {
            try (ZipInputStream zip = new ZipInputStream(in)) {
                unpack(zip);
            }
            return finish();
        } catch (ZipException | EOFException | IllegalArgumentException e) {
            // IllegalArgumentException: a name in the archive is no text.
            throw new Problem(Problem.Code.BAD_ZIP);
        } catch (IOException e) {
            throw failed(e);
        } finally {
            Bytes.remove(staging);
        }
    }

    /**
     * Imports the files that the manifest of a folder names; others are not asked for.
     *
     * @return the new model folder
     * @throws Problem NO_MANIFEST, MISSING_FILE, NO_SPACE, IO, or what is wrong with the model
     */
    public ModelFolder fromFiles(Source source, String folderName) throws Problem {
        begin();
        try {
            if (!fetch(source, ModelSpec.FILE_NAME, maxBytes())) {
                throw new Problem(Problem.Code.NO_MANIFEST, folderName);
            }
            List<String> names = ModelFolder.open(staging).spec.filesFor(abi);
            for (String name : names.subList(1, names.size())) {
                if (!fetch(source, name, maxBytes())) {
                    throw new Problem(Problem.Code.MISSING_FILE, name);
                }
            }
            return finish();
        } catch (IOException e) {
            throw failed(e);
        } finally {
            Bytes.remove(staging);
        }
    }

    /** Returns the folder that a model with this very manifest has or would have; null without a manifest. */
    public File placeOf(Source source) throws IOException {
        ByteArrayOutputStream manifest = new ByteArrayOutputStream();
        try (InputStream in = source.open(ModelSpec.FILE_NAME)) {
            if (in == null) {
                return null;
            }
            Bytes.copy(in, manifest, maxBytes());
        }
        return place(Bytes.sha256(manifest.toByteArray()));
    }

    /** Returns the free bytes of the file system; a test may say otherwise. */
    protected long freeBytes() {
        return models.getUsableSpace();
    }

    /** Returns how many bytes an archive may hold; a test may say otherwise. */
    protected long maxBytes() {
        return MAX_BYTES;
    }

    private void begin() throws Problem {
        Bytes.remove(staging);
        if (!staging.mkdirs()) {
            throw new Problem(Problem.Code.IO, staging.getPath());
        }
    }

    private void unpack(ZipInputStream zip) throws IOException, Problem {
        String folder = null;
        int count = 0;
        long left = maxBytes();
        for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
            String name = safeName(entry.getName());
            if (++count > MAX_FILES) {
                throw new Problem(Problem.Code.ZIP_TOO_LARGE, MAX_FILES);
            }
            if (entry.isDirectory() || isLitter(name)) {
                continue;
            }
            int slash = name.lastIndexOf('/');
            String parent = name.substring(0, slash + 1);
            if (folder != null && !folder.equals(parent)) {
                // A second folder is no part of a model; a manifest's names have no slash.
                continue;
            }
            folder = parent;
            File file = new File(staging, name.substring(slash + 1));
            if (file.exists()) {
                throw new ZipException("twice: " + name);
            }
            left -= write(zip, file, left);
        }
        if (count == 0) {
            throw new ZipException("no entries");
        }
    }

    private boolean fetch(Source source, String name, long limit) throws IOException, Problem {
        try (InputStream in = source.open(name)) {
            if (in != null) {
                write(in, new File(staging, name), limit);
            }
            return in != null;
        }
    }

    /** Writes a stream in pieces, so that a full disk is told before it is full. */
    private long write(InputStream in, File file, long limit) throws IOException, Problem {
        long total = 0;
        try (OutputStream out = new FileOutputStream(file)) {
            for (long n = MEGABYTE; n >= MEGABYTE; total += n) {
                if (freeBytes() < SPARE_BYTES) {
                    throw noSpace();
                }
                n = copyPiece(in, out);
                if (total + n > limit) {
                    throw new Problem(Problem.Code.ZIP_TOO_LARGE, (maxBytes() / MEGABYTE) + " MB");
                }
            }
        }
        return total;
    }

    /** Copies a megabyte, or less where the stream ends; returns how many bytes. */
    private static long copyPiece(InputStream in, OutputStream out) throws IOException {
        byte[] buffer = new byte[(int) MEGABYTE];
        int count = 0;
        for (int n = 0; n >= 0 && count < buffer.length; n = in.read(buffer, count, buffer.length - count)) {
            count += n;
        }
        out.write(buffer, 0, count);
        return count;
    }

    private ModelFolder finish() throws Problem {
        ModelFolder staged = ModelFolder.open(staging);
        staged.checkFor(abi);
        List<String> wanted = staged.spec.filesFor(abi);
        File[] files = staging.listFiles();
        for (File file : files == null ? new File[0] : files) {
            if (!wanted.contains(file.getName())) {
                Bytes.remove(file);
            }
        }
        File place = place(Bytes.sha256(new File(staging, ModelSpec.FILE_NAME)));
        Bytes.remove(place);
        if (!staging.renameTo(place)) {
            throw new Problem(Problem.Code.IO, place.getPath());
        }
        return ModelFolder.open(place);
    }

    /** Returns the folder for a manifest; its digest is the name, so a changed model never hides behind an old one. */
    private File place(String digest) {
        return new File(models, digest.substring(0, 16));
    }

    /** Returns the name of an entry that stays in its folder, with plain slashes. */
    private static String safeName(String name) throws Problem {
        boolean isBad = name.isEmpty() || name.startsWith("/") || name.indexOf('\\') >= 0 || name.indexOf(':') >= 0;
        for (String part : name.split("/")) {
            isBad |= part.equals("..") || part.equals(".") || part.indexOf('\0') >= 0;
        }
        if (isBad) {
            throw new Problem(Problem.Code.ZIP_ESCAPE, name.length() > 60 ? name.substring(0, 60) : name);
        }
        return name;
    }

    /** Returns whether a file is what a Mac or a file manager leaves behind. */
    private static boolean isLitter(String name) {
        return name.startsWith("__MACOSX/") || name.substring(name.lastIndexOf('/') + 1).startsWith(".");
    }

    private Problem failed(IOException e) {
        String words = String.valueOf(e.getMessage());
        boolean isFull = words.contains("ENOSPC") || words.contains("No space left");
        return isFull ? noSpace() : new Problem(Problem.Code.IO, words);
    }

    private Problem noSpace() {
        return new Problem(Problem.Code.NO_SPACE, SPARE_BYTES / MEGABYTE, freeBytes() / MEGABYTE);
    }
}
