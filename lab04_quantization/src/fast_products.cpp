// Task 6: room for faster variants of your products, if you like. It may stay empty.
