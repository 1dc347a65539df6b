package org.ppghost.core;

import java.io.File;
import java.nio.charset.StandardCharsets;

/** A model folder on disk whose manifest was read; its files are checked when they are needed. */
public final class ModelFolder {

    private static final long MAX_TEXT_BYTES = 16L << 20;

    /** The folder. */
    public final File folder;
    /** What its manifest says. */
    public final ModelSpec spec;

    private ModelFolder(File folder, ModelSpec spec) {
        this.folder = folder;
        this.spec = spec;
    }

    /**
     * Reads the manifest of a folder.
     *
     * @throws Problem NO_MANIFEST or BAD_MANIFEST
     */
    public static ModelFolder open(File folder) throws Problem {
        File manifest = new File(folder, ModelSpec.FILE_NAME);
        if (!manifest.isFile()) {
            throw new Problem(Problem.Code.NO_MANIFEST, folder.getName());
        }
        byte[] bytes = Bytes.read(manifest, MAX_TEXT_BYTES);
        return new ModelFolder(folder, ModelSpec.read(new String(bytes, StandardCharsets.UTF_8)));
    }

    /**
     * Checks every file that a phone uses: there, header, size, SHA-256, labels.
     *
     * @throws Problem the first that is wrong
     */
    public void checkFor(String abi) throws Problem {
        labels();
        goldenInput();
        goldenOutput();
        for (ModelSpec.Variant variant : spec.variantsFor(abi)) {
            checkModel(variant, null);
        }
    }

    /**
     * Checks one model before native code may see it, and returns it.
     *
     * @param libraryVersion version of Paddle Lite in the app; null where it is not known
     * @throws Problem MISSING_FILE, NB_..., CHECKSUM
     */
    public File checkModel(ModelSpec.Variant variant, String libraryVersion) throws Problem {
        File file = new File(folder, variant.file);
        NbHeader header = NbHeader.read(file);
        if (file.length() < variant.sizeBytes) {
            throw new Problem(Problem.Code.NB_TRUNCATED, variant.file);
        }
        header.checkVersion(libraryVersion, variant.file);
        return checked(variant.file, variant.sha256);
    }

    /**
     * Returns the names of the classes; numbers where the folder has no names.
     *
     * @throws Problem MISSING_FILE, CHECKSUM, LABEL_COUNT, BAD_LABELS, LABEL_ENCODING
     */
    public Labels labels() throws Problem {
        if (spec.labels == null) {
            return Labels.numbers(spec.classCount);
        }
        Labels labels = Labels.read(Bytes.read(new File(folder, spec.labels), MAX_TEXT_BYTES), spec.classCount);
        checked(spec.labels, spec.labelsSha256);
        return labels;
    }

    /** Returns the input with which the network proves itself; null where the folder has none. */
    public float[] goldenInput() throws Problem {
        int plane = spec.preprocess.crop * spec.preprocess.crop;
        return spec.golden == null ? null : floats(spec.golden.input, spec.golden.inputSha256, 3 * plane);
    }

    /** Returns the output that belongs to {@link #goldenInput}; null where the folder has none. */
    public float[] goldenOutput() throws Problem {
        return spec.golden == null ? null : floats(spec.golden.output, spec.golden.outputSha256, spec.classCount);
    }

    private float[] floats(String name, String sha256, int count) throws Problem {
        float[] values = Bytes.floats(Bytes.read(checked(name, sha256), 4L * count));
        if (values.length != count) {
            throw new Problem(Problem.Code.CHECKSUM, name);
        }
        return values;
    }

    private File checked(String name, String sha256) throws Problem {
        File file = new File(folder, name);
        if (!file.isFile()) {
            throw new Problem(Problem.Code.MISSING_FILE, name);
        }
        if (!Bytes.sha256(file).equals(sha256)) {
            throw new Problem(Problem.Code.CHECKSUM, name);
        }
        return file;
    }
}
