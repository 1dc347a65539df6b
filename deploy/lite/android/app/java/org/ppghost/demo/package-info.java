/** The app: screens, pictures, the phone's facts. What can be tested without a phone is in {@code org.ppghost.core}. */
package org.ppghost.demo;
