/** Tests of the core on a desktop JVM, against golden files that Python wrote; run by {@code build.sh test}. */
package org.ppghost.core;
