/**
 * The engine, in a process of its own that may die of a model without taking the app along, and its client.
 *
 * <p>Only {@code LiteEngine} knows Paddle Lite; another engine is another class behind {@code Engine}.
 */
package org.ppghost.engine;
