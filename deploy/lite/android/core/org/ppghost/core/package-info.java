/**
 * Everything of the app that has logic, in plain Java: manifests and model files, pictures to tensors, outputs to
 * answers, the benchmark's plan and report, and the drawing of the result screens.
 *
 * <p>Nothing here may import {@code android.*}: the same classes are tested on a desktop JVM, as they were compiled and
 * again as they came back out of the dex file. The language is Java 8 without lambdas and streams, which the Debian
 * packages cannot turn into a dex file.
 */
package org.ppghost.core;
