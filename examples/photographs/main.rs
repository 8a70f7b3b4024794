//! x
mod wildlife;
fn main() {
    let n: u32 = std::env::args().nth(1).unwrap().parse().unwrap();
    let first: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let mut sheet = image::RgbImage::new(n * 300, 10 * 300);
    let start = std::time::Instant::now();
    for label in 0..10 {
        for i in 0..n {
            let p = wildlife::photograph(label, [first, (i as u64) * 10 + label as u64]);
            image::imageops::replace(&mut sheet, &p, (i * 300) as i64, (label * 300) as i64);
        }
    }
    println!("{:?} each", start.elapsed() / (n * 10));
    let small = image::imageops::thumbnail(&sheet, n * 200, 2000);
    small.save("/tmp/sheet.png").unwrap();
    let start = std::time::Instant::now();
    wildlife::write(std::path::Path::new("/tmp/wild"), 100, first).unwrap();
    println!("{:?} each written", start.elapsed() / 100);
}
