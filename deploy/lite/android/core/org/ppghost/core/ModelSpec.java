package org.ppghost.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** What {@code ppghost.json} says of a model folder: the network, its preprocessing, its files. Immutable. */
public final class ModelSpec {

    /** Name of the manifest in a model folder. */
    public static final String FILE_NAME = "ppghost.json";

    private static final long MAX_FILE_BYTES = 1L << 31;
    private static final int MAX_SIDE = 4096;

    /** The model's name, such as "GhostNet_x1_0". */
    public final String name;
    /** Which training it is. */
    public final String version;
    /** Form of the graph: stock, folded or fused. */
    public final String graph;
    /** Number of classes. */
    public final int classCount;
    /** Shape of the input: [1, 3, height, width]. */
    public final long[] inputShape;
    /** Whether the output are probabilities already. */
    public final boolean hasSoftmax;
    /** From picture to tensor. */
    public final Preprocess preprocess;
    /** File of the class names; null where they have none. */
    public final String labels;
    /** SHA-256 of that file; null where there is none. */
    public final String labelsSha256;
    /** The converted forms, at least one. */
    public final List<Variant> variants;
    /** Input and output with which a form proves itself; null where the folder has none. */
    public final Golden golden;

    /** One converted file. */
    public static final class Variant {
        /** Name of the file in the folder. */
        public final String file;
        /** armv8, armv7 or x86. */
        public final String arch;
        /** fp32 or fp16. */
        public final String precision;
        /** Size of the file. */
        public final long sizeBytes;
        /** SHA-256 of the file, 64 lower case hexadecimal digits. */
        public final String sha256;
        /** Version of the converter, as the manifest tells it. */
        public final String optVersion;
        /** How far the output may be from golden, as a share of golden's largest value. */
        public final double rtol;

        private Variant(Fields fields) throws Problem {
            file = fileName(fields, "file");
            arch = fields.string("arch");
            precision = fields.string("precision");
            sizeBytes = fields.whole("size_bytes", 1, MAX_FILE_BYTES);
            sha256 = sha256(fields, "sha256");
            optVersion = fields.string("opt_version");
            fields.whole("meta_version", NbHeader.LAYOUT, NbHeader.LAYOUT);
            rtol = fields.number("rtol");
        }

        /** Returns "armv8.fp32". */
        public String form() {
            return arch + "." + precision;
        }
    }

    /** Files of the proof: float32 little endian. */
    public static final class Golden {
        /** File of the input, 3 x height x width values. */
        public final String input;
        /** SHA-256 of the input's file. */
        public final String inputSha256;
        /** File of the output, one value for each class. */
        public final String output;
        /** SHA-256 of the output's file. */
        public final String outputSha256;

        private Golden(Fields fields) throws Problem {
            input = fileName(fields, "input");
            inputSha256 = sha256(fields, "input_sha256");
            output = fileName(fields, "output");
            outputSha256 = sha256(fields, "output_sha256");
        }
    }

    private ModelSpec(Fields fields) throws Problem {
        fields.whole("format", 1, 1);
        name = fields.string("name");
        version = fields.string("version");
        graph = fields.string("graph");
        classCount = (int) fields.whole("class_num", 1, 1000000);
        hasSoftmax = fields.object("output").flag("softmax");
        preprocess = preprocess(fields.object("preprocess"));
        inputShape = new long[] {1, 3, preprocess.crop, preprocess.crop};
        checkShape(fields.object("input"));
        labels = fields.has("labels") ? fileName(fields, "labels") : null;
        labelsSha256 = labels == null ? null : sha256(fields, "labels_sha256");
        golden = fields.has("golden") ? new Golden(fields.object("golden")) : null;
        variants = variants(fields);
    }

    /**
     * Reads a manifest.
     *
     * @param text the contents of ppghost.json
     * @throws Problem BAD_MANIFEST with the field that is missing or wrong
     */
    public static ModelSpec read(String text) throws Problem {
        return new ModelSpec(Fields.of(Json.read(text), FILE_NAME));
    }

    /**
     * Returns the forms for a phone, in the order of the manifest.
     *
     * @param abi as Android names it, such as "arm64-v8a"
     * @throws Problem NO_MODEL_FOR_ABI when there is none
     */
    public List<Variant> variantsFor(String abi) throws Problem {
        List<Variant> fitting = new ArrayList<>();
        Set<String> known = new HashSet<>();
        for (Variant variant : variants) {
            known.add(variant.arch);
            if (variant.arch.equals(archOf(abi))) {
                fitting.add(variant);
            }
        }
        if (fitting.isEmpty()) {
            throw new Problem(Problem.Code.NO_MODEL_FOR_ABI, abi, join(known));
        }
        return fitting;
    }

    /** Returns Paddle Lite's name of an ABI, or the ABI itself where it has none. */
    public static String archOf(String abi) {
        switch (abi) {
            case "arm64-v8a":
                return "armv8";
            case "armeabi-v7a":
                return "armv7";
            case "x86_64":
                return "x86";
            default:
                return abi;
        }
    }

    /**
     * Returns the names of the files that a phone uses of this folder, the manifest first, none twice.
     *
     * @throws Problem NO_MODEL_FOR_ABI when it can use none
     */
    public List<String> filesFor(String abi) throws Problem {
        List<String> files = new ArrayList<>();
        files.add(FILE_NAME);
        if (labels != null) {
            files.add(labels);
        }
        if (golden != null) {
            files.add(golden.input);
            files.add(golden.output);
        }
        for (Variant variant : variantsFor(abi)) {
            if (!files.contains(variant.file)) {
                files.add(variant.file);
            }
        }
        return files;
    }

    private static Preprocess preprocess(Fields fields) throws Problem {
        if (!fields.string("interpolation").equals("bilinear")) {
            throw fields.wrong("interpolation", "bilinear");
        }
        String order = fields.string("channel_order");
        if (!order.equals("RGB") && !order.equals("BGR")) {
            throw fields.wrong("channel_order", "RGB or BGR");
        }
        float[] std = fields.numbers("std", 3);
        for (float value : std) {
            if (value == 0) {
                throw fields.wrong("std", "three numbers other than 0");
            }
        }
        int crop = (int) fields.whole("crop", 1, MAX_SIDE);
        int resizeShort = (int) fields.whole("resize_short", crop, MAX_SIDE);
        return new Preprocess(
                resizeShort, crop, (float) fields.number("scale"), fields.numbers("mean", 3), std, order.equals("BGR"));
    }

    private void checkShape(Fields input) throws Problem {
        float[] shape = input.numbers("shape", 4);
        for (int i = 0; i < 4; i++) {
            if (shape[i] != inputShape[i]) {
                throw input.wrong("shape", "1, 3 and twice preprocess.crop, " + preprocess.crop);
            }
        }
    }

    private static List<Variant> variants(Fields fields) throws Problem {
        List<Variant> variants = new ArrayList<>();
        for (Fields entry : fields.objects("models")) {
            variants.add(new Variant(entry));
        }
        if (variants.isEmpty()) {
            throw fields.wrong("models", "at least one model");
        }
        return Collections.unmodifiableList(variants);
    }

    /** Returns a name that stays in its folder. */
    private static String fileName(Fields fields, String field) throws Problem {
        String name = fields.string(field);
        if (!name.matches("[A-Za-z0-9_][A-Za-z0-9._-]*")) {
            throw fields.wrong(field, "a plain file name");
        }
        return name;
    }

    private static String sha256(Fields fields, String field) throws Problem {
        String digits = fields.string(field);
        if (!digits.matches("[0-9a-f]{64}")) {
            throw fields.wrong(field, "64 hexadecimal digits");
        }
        return digits;
    }

    private static String join(Set<String> words) {
        StringBuilder text = new StringBuilder();
        for (String word : words) {
            text.append(text.length() == 0 ? "" : ", ").append(word);
        }
        return text.toString();
    }
}
